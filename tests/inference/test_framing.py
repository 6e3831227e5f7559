"""The part of a picture that frames show, where somebody chooses it."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from echod.inference.contract import Image
from echod.inference.errors import InputError
from echod.inference.face import find_faces, in_order
from echod.inference.framing import Box, Framing, Rect, Size, crop_rect, face_rect, holds, problem_of
from echod.inference.preview import PreviewEngine

BOX = (100.2, 80.0, 180.0, 190.4)


@pytest.fixture(scope="module")
def couple(picture: Image) -> Image:
    """Two people, the one on the right nearer."""
    small = np.zeros_like(picture)
    small[128:384, 128:384] = picture[::2, ::2]
    return np.concatenate([small, picture], axis=1)


@pytest.mark.parametrize("size", [(512, 512), (384, 512), (512, 384)])
def test_dilation(size: Size) -> None:
    """More of it shows more; the crop is never smaller than the face, nor larger than the picture."""
    dice = random.Random(3)
    for _ in range(200):
        width, height = dice.randrange(600, 2000), dice.randrange(600, 2000)
        x, y = dice.uniform(0, width - 220), dice.uniform(0, height - 260)
        box = (x, y, x + dice.uniform(60, 200), y + dice.uniform(80, 250))
        sides = []
        for dilation in (0.0, 0.1, 0.5, 1.0, 4.0):
            rect = crop_rect((height, width), box, size, Framing(dilation=dilation))
            assert holds((0, 0, width, height), rect)
            assert holds(rect, face_rect((height, width), box)) or dilation == 0.5
            sides.append(rect[2] - rect[0])
        assert sides[0] < sides[-1]


def test_crop() -> None:
    """It is taken as it is, or its middle in the shape of the frames."""
    assert crop_rect((400, 400), BOX, (512, 512), Framing(crop=(50, 60, 250, 260))) == (50, 60, 250, 260)
    assert crop_rect((400, 400), BOX, (512, 512), Framing(crop=(50, 60, 300, 260))) == (75, 60, 275, 260)
    assert crop_rect((400, 400), BOX, (512, 256), Framing(crop=(0, 60, 300, 260))) == (0, 85, 300, 235)


@pytest.mark.parametrize(
    ("crop", "box", "size", "problem"),
    [
        ((50, 60, 250, 260), BOX, (512, 512), None),
        ((50, 60, 250, 260), None, (512, 512), None),
        ((50, 60, 401, 260), BOX, (512, 512), "inside the picture, which is 400 x 300"),
        ((250, 60, 50, 260), BOX, (512, 512), "inside the picture"),
        ((101, 60, 301, 260), BOX, (512, 512), "all of the face, which is 100,80,180,190$"),
        ((50, 60, 250, 260), BOX, (512, 128), "100,80,180,190, once its middle is cut .* 512x128: 50,135,250,185$"),
    ],
)  # fmt: skip
def test_problems(crop: Rect, box: Box | None, size: Size, problem: str | None) -> None:
    """A crop that leaves the picture, or a part of the face, is refused with the numbers."""
    told = problem_of(crop, (300, 400), box, size)
    assert told is None if problem is None else told and re.search(problem, told)


def test_one_of_several_faces(engine: PreviewEngine, couple: Image) -> None:
    """The largest one speaks, unless another is chosen: from left to right, or as it was found elsewhere."""
    left, right = (each.box for each in in_order(find_faces(couple)))
    largest = engine.prepare(couple, (128, 128))
    assert largest.faces == 2
    assert holds(largest.crop, face_rect(couple.shape[:2], right))
    for framing, box, chosen in (
        (Framing(face=0), None, left),
        (Framing(face=1), None, right),
        (Framing(face=7), left, left),
        (Framing(crop=(150, 150, 350, 350), face=0), None, left),
    ):
        crop = engine.prepare(couple, (128, 128), box, framing=framing).crop
        assert holds(crop, face_rect(couple.shape[:2], chosen))
        assert crop == (framing.crop or crop)


@pytest.mark.parametrize(
    ("framing", "words"),
    [
        (Framing(face=2), "face = 2: the picture shows 2"),
        (Framing(crop=(0, 0, 100, 100)), "it must hold all of the face"),
    ],
)
def test_what_the_picture_has_not(engine: PreviewEngine, couple: Image, framing: Framing, words: str) -> None:
    """Programs that ask engines for it are refused too."""
    with pytest.raises(InputError, match=words) as refusal:
        engine.prepare(couple, (128, 128), framing=framing)
    assert refusal.value.code == "invalid_request"
