"""Frames put back into the picture that they were cut out of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echod.inference.audio import Speech
from echod.inference.clip import make_clip
from echod.inference.contract import Image, Options
from echod.inference.limits import picture_size
from echod.inference.picture import Blend, WholePicture
from echod.inference.preview import PreviewEngine
from echod.inference.preview.engine import PreviewPortrait
from tests.making.playback import play


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1342, 1341), (1342, 1340)),
        ((1920, 1080), (1920, 1080)),
        ((2840, 2840), (1920, 1920)),
        ((1921, 30), (1920, 28)),
        ((4000, 3001), (1920, 1440)),
        ((50, 40_000), (2, 1920)),
    ],
)
def test_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """The picture's own, in even numbers; larger ones are scaled to the limit."""
    assert picture_size(size, 1920) == expected


@pytest.mark.parametrize(
    ("shape", "crop", "limit"),
    [
        ((301, 401), (101, 50, 301, 250), 1920),
        ((301, 401), (201, 101, 401, 301), 1920),
        ((900, 700), (100, 50, 500, 450), 400),
    ],
)
def test_outside_of_the_crop(shape: tuple[int, int], crop: tuple[int, int, int, int], limit: int) -> None:
    """Every pixel of every frame is the photo's, whatever the engine makes."""
    whole = WholePicture(noise(*shape), crop, limit)
    blend, place = Blend(whole, 24), whole.place
    for seed in range(3):
        shown = blend(noise(128, 128, seed)).copy()
        assert shown.shape == (whole.size[1], whole.size[0], 3)
        assert (shown[place] != whole.photo[place]).any()
        shown[place] = whole.photo[place]
        assert np.array_equal(shown, whole.photo)


def test_a_clip_of_the_whole_picture(
    engine: PreviewEngine, small_portrait: PreviewPortrait, picture: Image, tone: Speech, tmp_path: Path
) -> None:
    """It has the picture's size, its thumbnail too, and only the head moves."""
    whole = WholePicture(picture, small_portrait.crop, 400)
    make_clip(engine, small_portrait, tone, Options(fps=10), tmp_path, whole=whole, lossless=True)
    frames = play(tmp_path / "clip.mp4").frames
    assert frames.shape[1:] == (400, 400, 3)
    moving = (frames != whole.photo).any(axis=(0, 3))
    assert moving[whole.place].any()
    moving[whole.place] = False
    assert not moving.any()
