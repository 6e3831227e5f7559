from __future__ import annotations

import random

import pytest

from echod.inference import framing
from echod.inspection.facts import PortraitFacts
from echod.jobs.advice import crop_side, warnings
from echod.jobs.job import ClipOptions


def portrait(width: int, height: int, box: tuple[float, float, float, float] | None) -> PortraitFacts:
    return PortraitFacts(width=width, height=height, faces=1, box=box, sha256="p")


def test_what_a_clip_shows() -> None:
    """It is what engines cut out, wherever the face is, also one that leaves the picture."""
    dice = random.Random(5)
    for _ in range(500):
        width, height = dice.randrange(100, 4000), dice.randrange(100, 4000)
        x, y = dice.uniform(-20, width - 40), dice.uniform(-20, height - 40)
        box = (x, y, x + dice.uniform(30, width), y + dice.uniform(30, height))
        left, top, right, bottom = framing.crop_rect((height, width), box, (512, 512))
        assert right - left == bottom - top == crop_side(portrait(width, height, box))


@pytest.mark.parametrize(
    ("side", "width", "height", "warned"),
    [(102, 512, 512, True), (127, 512, 512, True), (129, 512, 512, False), (102, 384, 384, False),
     (200, 1024, 1024, True), (102, 1024, 384, False), (102, 1024, 512, True)],
)  # fmt: skip
def test_a_small_face(side: int, width: int, height: int, warned: bool) -> None:
    """A face that must be drawn more than twice as large is warned of, for the size that is asked for."""
    picture = portrait(1000, 1000, (400.0, 400.0, 400.0 + side, 400.0 + side))
    told = warnings(picture, ClipOptions(width=width, height=height))
    assert [warning.code for warning in told] == ["face_small"] * warned


def test_the_words() -> None:
    """They say how large the face is, how large it should be, and what else one can do."""
    [warning] = warnings(portrait(1000, 1000, (400.0, 400.0, 502.0, 520.0)))
    assert warning.message == (
        "the face is 102 px wide: a clip of 512x512 shows it 2.5 times as large, and soft; use a picture in which it "
        "is at least 128 px wide, or ask for a smaller size"
    )


def test_nothing_to_warn_of() -> None:
    """Of speech, and of portraits whose face nobody has measured, there is nothing to say."""
    assert warnings(None) == warnings(portrait(10, 10, None)) == []
