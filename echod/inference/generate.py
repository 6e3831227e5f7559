"""A clip by one call: EchoMimic as a library."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as Picture
from PIL import ImageOps

from .audio import Speech
from .clip import ClipFacts, make_clip
from .contract import AS_FOUND, Checkpoint, Options, Size, no_checkpoint
from .echomimic.engine import EchoMimicEngine
from .framing import Framing
from .limits import MAX_PICTURE
from .picture import WholePicture


def generate_video(
    engine: EchoMimicEngine,
    portrait: Path,
    speech: Path,
    output: Path,
    *,
    size: Size = (512, 512),
    options: Options | None = None,
    view: Literal["face", "picture"] = "face",
    framing: Framing = AS_FOUND,
    full_frame: bool = False,
    lossless: bool = False,
    checkpoint: Checkpoint = no_checkpoint,
) -> ClipFacts:
    """Make a clip: two files in, one out. It appears at `output` complete or not at all, and replaces what is there.

    In view picture it shows the whole portrait with the head moving in it; `size` is that of the head as it is made.
    `full_frame` is for pictures without a face: the middle of the whole picture. Raises InputError, NotFiniteError and
    whatever `checkpoint` raises.
    """
    with Picture.open(portrait) as picture:
        image = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    prepared = engine.prepare(image, size, checkpoint=checkpoint, framing=framing, full_frame=full_frame)
    whole = WholePicture(image, prepared.crop, MAX_PICTURE) if view == "picture" else None
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".echod-") as directory:
        facts = make_clip(
            engine,
            prepared,
            Speech.open(speech),
            options or Options(),
            Path(directory),
            whole=whole,
            lossless=lossless,
            checkpoint=checkpoint,
        )
        (Path(directory) / "clip.mp4").replace(output)
    return facts
