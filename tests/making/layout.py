"""The recorded tensors' weights follow from the parameters' names: writing them as a directory in the published layout.

`python -m tests.making.layout GOLDEN DIRECTORY`, GOLDEN being a directory of recorded tensors with its `config.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from echod.inference.echomimic import tiny
from echod.inference.echomimic.config import ModelConfig


def write_keyed(golden: Path, directory: Path) -> None:
    """The weights that GOLDEN was recorded with, its sizes, and its name as the set's."""
    described = golden / "config.json"
    tiny.write(directory, ModelConfig.read(described), json.loads(described.read_text())["set"])


if __name__ == "__main__":
    write_keyed(Path(sys.argv[1]), Path(sys.argv[2]))
