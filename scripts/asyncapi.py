"""Write docs/asyncapi.json, as the code has it: python scripts/asyncapi.py"""

from __future__ import annotations

import json
from pathlib import Path

from echod.server.asyncapi import document

if __name__ == "__main__":
    file = Path(__file__).parent.parent / "docs" / "asyncapi.json"
    file.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", "utf-8")
