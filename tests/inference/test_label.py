from __future__ import annotations

import numpy as np
import pytest

from echod.inference.label import labelled


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("width", "height"), [(128, 128), (512, 768), (1920, 1080), (128, 1024)])
def test_letters_are_tall_enough(language: str, width: int, height: int) -> None:
    """The first letter, an A, has at least 5 % of the shorter side; the words lie in the corner, in a copy."""
    frame = np.full((height, width, 3), 40, np.uint8)
    made = labelled(frame, language)
    assert (frame == 40).all()
    rows, columns = np.nonzero((made != 40).any(-1))
    assert rows.min() > height / 2 and rows.max() < height and columns.max() < width
    bright = made[..., 0] > 120
    first = np.flatnonzero(bright.any(0))[0]
    gap = first + np.flatnonzero(~bright[:, first:].any(0))[0] if width > 128 else first + round(0.06 * width)
    letter = np.flatnonzero(bright[:, first:gap].any(1))
    assert letter[-1] - letter[0] + 1 >= 0.05 * min(width, height) - 1e-9


def test_words_can_be_read_on_any_ground() -> None:
    """They stand out of a white picture as of a black one."""
    for light in (0, 255):
        made = labelled(np.full((256, 256, 3), light, np.uint8), "zh")[200:]
        assert int(made.max()) - int(made.min()) > 100
