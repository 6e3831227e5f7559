"""Frames put back into the picture that they were cut out of."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from echod.inference import face, framing
from echod.inference.audio import Speech
from echod.inference.clip import make_clip
from echod.inference.contract import Image, Options
from echod.inference.limits import picture_size
from echod.inference.picture import Blend, WholePicture
from echod.inference.preview import PreviewEngine
from echod.inference.preview.engine import PreviewPortrait
from tests.making.media import EXAMPLES
from tests.making.playback import play

PORTRAITS = ("portrait.png", "roles/ada/portrait.jpg", "roles/xiaolin/portrait.jpg")
ASSETS = ("a.png", "b.png", "c.png")


def read(path: Path) -> Image:
    return np.asarray(Picture.open(path).convert("RGB"))


def on_a_wall(picture: Image, width: int, height: int, side: int) -> Image:
    """The portrait, `side` pixels large, in the upper middle of a larger picture, mirrored at its edges."""
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    left, top = (width - side) // 2, (height - side) // 4
    edges = top, height - side - top, left, width - side - left
    return np.asarray(cv2.copyMakeBorder(small, *edges, cv2.BORDER_REFLECT), np.uint8)


def whole(picture: Image) -> WholePicture:
    box = face.glance(picture)[0].box
    return WholePicture(picture, framing.crop_rect(picture.shape[:2], box, (512, 512)), 1920)


def seen_anew(whole: WholePicture) -> Image:
    """What an engine might make of the crop: softer, larger, a little turned, and of other colours."""
    frame = cv2.resize(whole.photo[whole.place], (512, 512), interpolation=cv2.INTER_LINEAR)
    turned = cv2.warpAffine(frame, cv2.getRotationMatrix2D((260, 300), 1.5, 1.02), (512, 512), borderMode=1)
    return np.asarray(np.clip(turned * [1.08, 1.0, 0.92] + [10, 4, -2], 0, 255), np.uint8)


def gradients(picture: Image, whole: WholePicture) -> NDArray[np.float64]:
    """Mean changes of brightness across the lines at the inner edges of the crop, to a fiftieth of it inwards."""
    grey = picture.mean(axis=2)
    x0, y0, x1, y1 = whole.crop
    width, height = whole.size
    depth = max(2, (x1 - x0) // 50)
    sides = [
        (grey[y0:y1, x0 - 2 : x0 + depth], x0 > 0),
        (grey[y0:y1, x1 - depth : x1 + 2], x1 < width),
        (grey[y0 - 2 : y0 + depth, x0:x1].T, y0 > 0),
        (grey[y1 - depth : y1 + 2, x0:x1].T, y1 < height),
    ]
    return np.array([np.abs(np.diff(side, axis=1)).mean(axis=0) for side, inner in sides if inner])


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


def check_seamless(picture: Image) -> None:
    around = whole(picture)
    for frame in (seen_anew(around), noise(512, 512), np.zeros((512, 512, 3), np.uint8)):
        ratio = gradients(Blend(around, 24)(frame), around) / (gradients(around.photo, around) + 0.5)
        assert ratio.max(initial=0) <= 1.2


@pytest.mark.parametrize("name", PORTRAITS)
def test_no_step_along_the_band(name: str) -> None:
    """Across the crop's edges a frame changes no more than the photo, be it of another colour, noise or nothing."""
    check_seamless(read(EXAMPLES / name))


@pytest.mark.parametrize("name", ASSETS)
def test_no_step_along_the_band_of_large_portraits(assets: Path, name: str) -> None:
    check_seamless(read(assets / "assets" / name))


@pytest.mark.parametrize(("width", "height", "side"), [(960, 540, 420), (500, 1000, 300)])
def test_landscape_and_full_length(width: int, height: int, side: int) -> None:
    """Where the head is small in a wide or a tall picture."""
    check_seamless(on_a_wall(read(EXAMPLES / "portrait.png"), width, height, side))


def test_colours_are_those_of_the_photo(picture: Image) -> None:
    """Frames of another colour take on the photo's: what is left of the difference in the face is a fraction."""
    around = whole(picture)
    frame = cv2.resize(around.photo[around.place], (512, 512))
    tinted = np.asarray(np.clip(frame * 0.9 + [14, 6, 0], 0, 255), np.uint8)
    x0, y0, x1, y1 = around.crop
    middle = slice((3 * y0 + y1) // 4, (y0 + 3 * y1) // 4), slice((3 * x0 + x1) // 4, (x0 + 3 * x1) // 4)

    def off(shown: Image) -> float:
        return float(np.abs(shown[middle].mean(axis=(0, 1)) - around.photo[middle].mean(axis=(0, 1))).max())

    unmatched = around.photo.copy()
    unmatched[around.place] = cv2.resize(tinted, around.scaled)
    assert off(Blend(around, 24)(tinted)) < 0.5 * off(unmatched)


def test_nothing_flickers(picture: Image) -> None:
    """The band stands still while only the face moves; a change of colour is followed slowly, by less than a level."""
    around = whole(picture)
    blend, still = Blend(around, 24), seen_anew(around)
    first = blend(still).copy()
    band = np.zeros(around.photo.shape[:2], bool)
    band[around.place] = around.mask < 1
    for seed in range(5):
        moved = still.copy()
        moved[192:320, 192:320] = noise(128, 128, seed)
        assert np.array_equal(blend(moved)[band], first[band])
    before, brighter = blend(still).copy().astype(int), np.asarray(np.minimum(still, 240) + 15, np.uint8)
    changes = []
    for _ in range(12):
        shown = blend(brighter).astype(int)
        changes.append(np.abs(shown - before)[band].max())
        before = shown
    assert max(changes[1:]) <= 2


def test_a_crop_that_is_the_whole_picture() -> None:
    """Without a band the frame is all that is seen."""
    around, frame = WholePicture(noise(300, 300), (0, 0, 300, 300), 1920), noise(300, 300, 1)
    assert np.array_equal(Blend(around, 24)(frame), frame)
