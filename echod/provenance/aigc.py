"""The label that China asks of generated content, in a file's metadata (GB 45438-2025, annex E)."""

from __future__ import annotations

import json

KEY = "AIGC"  # of the metadata; its value is JSON
GENERATED = "1"  # certainly so


def label(producer: str, job: str) -> dict[str, str]:
    """The metadata of a clip that `producer` made as `job`. What is for those who spread it is theirs to fill in."""
    said = {
        "Label": GENERATED,
        "ContentProducer": producer,
        "ProduceID": job,
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    return {KEY: json.dumps(said, ensure_ascii=False, separators=(",", ":"))}
