"""The visible label of a generated clip: a few words in its lower right corner, in every frame.

`words/` has them drawn, white on nothing, from Noto Sans CJK SC Bold (SIL Open Font License 1.1): no machine needs a
font for it. GB 45438-2025 asks for letters of at least 5 % of the shorter side, and for at least two seconds.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from .contract import Image

WORDS = Path(__file__).parent / "words"
HEIGHT = 0.072  # of the shorter side, from the top of the highest letter to the lowest descender; an A has 5 / 7 of it
MARGIN = 0.02  # of the shorter side, around the words and between their ground and the edges


def labelled(frame: Image, language: str) -> Image:
    """A copy of the frame (H, W, 3) with the words of `language`, en or zh."""
    height, width = frame.shape[:2]
    words, margin = _words(language, width, height)
    tall, wide = words.shape[0] + 2 * margin, words.shape[1] + 2 * margin
    copy = frame.copy()
    ground = copy[-margin - tall : height - margin, -margin - wide : width - margin]
    ground >>= 1  # half the light
    letters = ground[margin:-margin, margin:-margin]
    letters += (words * (255 - letters)).astype(np.uint8)
    return copy


@cache
def _words(language: str, width: int, height: int) -> tuple[NDArray[np.float32], int]:
    """How much of each pixel (h, w, 1) the words cover in a frame of that size, and the margin around them."""
    shorter = min(width, height)
    margin = max(1, round(MARGIN * shorter))
    with Picture.open(WORDS / f"{language}.png") as drawn:
        tall = -int(-HEIGHT * shorter // 1)
        wide = min(round(drawn.width * tall / drawn.height), width - 4 * margin)
        scaled = drawn.resize((wide, tall), Picture.Resampling.LANCZOS)
    return np.asarray(scaled, np.float32)[..., None] / np.float32(255), margin
