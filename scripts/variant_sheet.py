"""The preview on the example portrait and its variants, on one picture, and how well each mouth follows the speech.

python -m scripts.variant_sheet docs/preview-variants.png [PICTURE=SPEECH ...]

The further pictures are only measured. Columns: the picture; the mouth shut, half open, open and round; the lids half
down and down.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Picture

from echod.inference.audio import Speech
from echod.inference.contract import Image, Options, no_checkpoint
from echod.inference.preview import PreviewEngine
from tests.making.lips import correlation_at, log_rms, mouth_openings
from tests.making.variants import variants

EXAMPLES = Path(__file__).parent.parent / "examples"
FPS = Options().fps
SIDE = 140  # of one picture on the sheet
POSES = ((0.0, 0.0, 0.0), (0.03, 0.0, 0.0), (0.08, 0.0, 0.0), (0.05, 1.0, 0.0), (0.0, 0.0, 0.6), (0.0, 0.0, 1.0))
STILL = (0.0, 0.0, 0.0)
REST = 3  # frames at either end, where the lips come from the portrait's own rest or go back: not measured


def read(path: Path) -> Image:
    return np.asarray(Picture.open(path).convert("RGB"))


def row(engine: PreviewEngine, picture: Image) -> Image:
    puppet = engine.prepare(picture, (512, 512)).puppet
    frames = [puppet.pose(opening, rounding, lids, STILL) for opening, rounding, lids in POSES]
    return np.hstack([shrink(picture), *(shrink(frame) for frame in frames)])


def shrink(picture: Image) -> Image:
    """The whole picture in the middle of a white square."""
    scale = SIDE / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return square


def report(engine: PreviewEngine, name: str, picture: Image, speech: Speech) -> None:
    """Print the correlation of mouth and loudness with the mouth two frames early, in time and two frames late."""
    portrait = engine.prepare(picture, (384, 384))
    frames = np.concatenate(list(engine.frames(portrait, speech, Options(), no_checkpoint)))
    within = slice(REST, len(frames) - REST)
    openings, loudness = mouth_openings(frames)[within], log_rms(speech, FPS, len(frames))[within]
    print(f"{name:12}", *(f"{correlation_at(lag, openings, loudness):6.2f}" for lag in (-2, 0, 2)), flush=True)


def main() -> None:
    engine, speech = PreviewEngine(), Speech.open(EXAMPLES / "speech.wav")
    portrait = read(EXAMPLES / "portrait.png")
    pictures = {"example": portrait, **variants(portrait)}
    sheet = Picture.fromarray(np.vstack([row(engine, picture) for picture in pictures.values()]))
    sheet.quantize(256).save(sys.argv[1], optimize=True)
    for name, picture in pictures.items():
        report(engine, name, picture, speech)
    for argument in sys.argv[2:]:
        path, _, recording = argument.partition("=")
        report(engine, Path(path).name, read(Path(path)), Speech.open(Path(recording)))


if __name__ == "__main__":
    main()
