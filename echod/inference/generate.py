"""A clip by one call: EchoMimic as a library."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageOps

from .audio import Speech
from .clip import ClipFacts, make_clip
from .contract import Checkpoint, Options, Size, no_checkpoint
from .echomimic.engine import EchoMimicEngine


def generate_video(
    engine: EchoMimicEngine,
    portrait: Path,
    speech: Path,
    output: Path,
    *,
    size: Size = (512, 512),
    options: Options | None = None,
    full_frame: bool = False,
    lossless: bool = False,
    checkpoint: Checkpoint = no_checkpoint,
) -> ClipFacts:
    """Make a clip: two files in, one out. It appears at `output` complete or not at all, and replaces what is there.

    `full_frame` is for pictures without a face: the middle of the whole picture. Raises InputError, NotFiniteError and
    whatever `checkpoint` raises.
    """
    with Picture.open(portrait) as picture:
        image = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    prepared = engine.prepare(image, size, checkpoint=checkpoint, full_frame=full_frame)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".echod-") as directory:
        facts = make_clip(
            engine,
            prepared,
            Speech.open(speech),
            options or Options(),
            Path(directory),
            lossless=lossless,
            checkpoint=checkpoint,
        )
        (Path(directory) / "clip.mp4").replace(output)
    return facts
