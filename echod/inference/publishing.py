"""A finished file gets its name, and is there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def publish(part: Path, clip: Path) -> None:
    """Rename a clip that is whole; what grew meanwhile, of this and of other attempts, goes."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(clip)
    for grown in clip.parent.glob("stream.*.mp4"):  # of attempts whose worker died, too
        grown.unlink()
    directory = os.open(clip.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
