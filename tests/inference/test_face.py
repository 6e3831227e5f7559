from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from echod.inference import face, framing
from echod.inference.contract import Image, Rect

RECORDED = ["a", "b", "c", "in_top_edge", "in_left_edge", "in_tight", "in_small", "in_two_faces"]
CLAMPED = {"in_top_edge", "in_left_edge", "in_tight"}  # their recorded masks are wrong: negative slice starts


def read_recorded(assets: Path, name: str) -> tuple[Image, dict[str, Any]]:
    directory = assets / ("golden/dev/preproc" if name.startswith("in_") else "assets")
    facts = json.loads((assets / "golden/dev/preproc/preproc.json").read_text())[f"{name}.png"]
    pixels = cv2.imread(str(directory / f"{name}.png"))
    assert pixels is not None
    return np.asarray(pixels[..., ::-1], np.uint8), facts


def bgr_sha256(image: Image) -> str:
    return hashlib.sha256(np.ascontiguousarray(image[..., ::-1]).tobytes()).hexdigest()


@pytest.mark.parametrize("name", RECORDED)
def test_boxes_and_crops_are_the_authors(assets: Path, name: str) -> None:
    """Boxes, rectangles, crop and mask equal those recorded from the EchoMimic authors' code."""
    image, facts = read_recorded(assets, name)
    found = face.find_faces(image)
    np.testing.assert_allclose([f.box for f in found], facts["boxes"], atol=0.01)
    np.testing.assert_allclose([f.probability for f in found], facts["probs"], atol=1e-4)
    shape, box = image.shape[:2], found[0].box
    assert framing.dilated_rect(shape, box) == tuple(facts["crop_rect_xyxy"])
    rect = framing.crop_rect(shape, box, (512, 512))
    assert rect == tuple(facts["square_rect_xyxy"])
    x0, y0, x1, y1 = rect
    assert bgr_sha256(image[y0:y1, x0:x1]) == facts["crop_sha256_before_resize"]
    crop, mask, where = face.crop_and_pad(image, box, (512, 512))
    assert (bgr_sha256(crop), where) == (facts["resized_bgr_sha256"], rect)
    if name not in CLAMPED:
        assert hashlib.sha256(mask.tobytes()).hexdigest() == facts["resized_mask_sha256"]


def test_no_face(assets: Path) -> None:
    """A picture without a face gives an empty list."""
    assert face.find_faces(read_recorded(assets, "in_no_face")[0]) == []


def test_glance_sees_nearly_the_same_box(assets: Path) -> None:
    """The quick look reports the box in full-size pixels, within a few hundredths of the face."""
    image, facts = read_recorded(assets, "c")
    (seen,) = face.glance(image)
    np.testing.assert_allclose(seen.box, facts["boxes"][0], atol=0.04 * 760)


def test_rgb_order_is_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """RGB order is tried when BGR order, which comes first, shows no face."""
    tried: list[int] = []

    def detect(pixels: Image) -> list[face.Face]:
        tried.append(int(pixels[0, 0, 0]))
        return [face.Face((0, 0, 1, 1), 0.9)] if tried[-1] == 1 else []

    monkeypatch.setattr(face, "_detect", detect)
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 1
    assert len(face.find_faces(image)) == 1
    assert tried == [0, 1]


@pytest.mark.parametrize(
    ("box", "covered"),
    [
        ((10.0, 20.0, 50.0, 60.0), (6, 16, 54, 64)),
        ((-20.0, -10.0, 40.0, 50.0), (0, 0, 46, 56)),
        ((60.0, 70.0, 130.0, 140.0), (53, 63, 100, 90)),
    ],
)
def test_mask_is_the_padded_box_cut_at_the_border(box: tuple[float, float, float, float], covered: Rect) -> None:
    """The mask is the box with a tenth more on each side; parts outside the picture are cut off."""
    mask = face.face_mask((90, 100), box)
    x0, y0, x1, y1 = covered
    expected = np.zeros((90, 100), np.uint8)
    expected[y0:y1, x0:x1] = 255
    np.testing.assert_array_equal(mask, expected)


def test_without_a_box_everything_is_face() -> None:
    """No box: the mask is full and the crop is the middle of the picture."""
    assert face.face_mask((9, 7), None).min() == 255
    assert framing.crop_rect((300, 400), None, (512, 512)) == (50, 0, 350, 300)


@pytest.mark.parametrize("size", [(512, 512), (512, 768), (1024, 128), (128, 1024), (640, 360)])
@pytest.mark.parametrize(
    "box", [(300.0, 100.0, 420.0, 260.0), (-30.0, 20.0, 200.0, 300.0), (560.0, 300.0, 700.0, 520.0)]
)
def test_crop_has_the_sizes_aspect(size: tuple[int, int], box: tuple[float, float, float, float]) -> None:
    """The crop lies inside the picture and has the wanted aspect to within a pixel: nothing is stretched."""
    x0, y0, x1, y1 = framing.crop_rect((480, 640), box, size)
    assert 0 <= x0 < x1 <= 640
    assert 0 <= y0 < y1 <= 480
    assert abs((x1 - x0) - (y1 - y0) * size[0] / size[1]) <= max(1, size[0] / size[1])


@pytest.mark.parametrize("size", [(640, 480), (1024, 576), (576, 1024), (520, 512)])
@pytest.mark.parametrize("name", RECORDED)
def test_no_chin_is_cut_off(assets: Path, name: str, size: tuple[int, int]) -> None:
    """A clip that is not square shows all of the face box if the picture has room, and its bottom in any case."""
    image, facts = read_recorded(assets, name)
    height, width = image.shape[:2]
    for beside in (0, 2 * width):  # as it is, and with room on both sides
        shape, box = (height, width + 2 * beside), facts["boxes"][0]
        moved = (box[0] + beside, box[1], box[2] + beside, box[3])
        left, top, right, bottom = framing.crop_rect(shape, moved, size)
        x0, y0, x1, y1 = framing.rounded(moved)
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, shape[1]), min(y1, height)
        assert top <= y1 <= bottom
        assert (top <= y0) or (bottom == y1)
        if right - left >= x1 - x0:
            assert left <= x0
            assert x1 <= right
        if beside and size[0] > size[1]:
            assert top <= y0


def test_crop_of_a_wide_clip() -> None:
    """The dilated face grows sideways, moved where the picture ends; where that is not enough, forehead goes first."""
    box, size = (100.0, 100.0, 200.0, 200.0), (400, 200)
    assert framing.crop_rect((1000, 1000), box, size) == (0, 50, 400, 250)
    assert framing.crop_rect((1000, 300), box, size) == (0, 75, 300, 225)
    assert framing.crop_rect((1000, 180), box, size) == (0, 110, 180, 200)
    assert framing.crop_rect((1000, 1000), box, (200, 200)) == (50, 50, 250, 250)


DETECTS = """
import sys
import numpy as np
from echod.inference import face, framing
{before}
face.find_faces(np.zeros((64, 64, 3), np.uint8))
{after}
"""
COMPILER_STAYS_OUT = "assert 'torch._dynamo' not in sys.modules, 'the compiler was imported'"
COMPILER_IS_REAL = "from torch._dynamo.utils import is_compile_supported; assert 'torch._dynamo' in sys.modules"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", f"{COMPILER_STAYS_OUT}; {COMPILER_IS_REAL}", id="without it"),
        pytest.param(
            "face.vars = lambda module: {}", COMPILER_IS_REAL, id="that says too little", marks=pytest.mark.long
        ),
    ],
)
def test_starts_without_the_compiler(before: str, after: str) -> None:
    """Finding faces works without importing torch's compiler, which can be had afterwards."""
    program = DETECTS.format(before=before, after=after)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
