"""Put frames back into the picture that they were cut out of: the head moves, and all else stays as it was.

A frame is scaled to its crop and laid over the photo through a mask: 0 at the crop's edges, 1 towards the head. What
differs in colour along that band, at low frequencies, is taken from the whole frame; it is followed slowly, so that
nothing flickers.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .contract import Image, Rect, Size
from .limits import picture_size

BAND = 0.2  # of the crop's side: from an edge to where the frame alone is seen
CELLS = 16  # a side: of the grid on which colours are compared
NEAR = 3.0  # cells about which a cell takes the mean: what has moved from one to the next is no difference of colour
SETTLING = 1.0  # seconds in which a difference of colour is followed to about two thirds
STEP = 0.25  # levels: a smaller change of the correction is not worth drawing it again


class WholePicture:
    """A picture at the size of its clips, at most `limit` pixels a side, and what a crop of it needs to be put back.

    `crop` is in the pixels of `image`, (H, W, 3) RGB.
    """

    def __init__(self, image: Image, crop: Rect, limit: int) -> None:
        height, width = image.shape[:2]
        self.size: Size = picture_size((width, height), limit)
        x0, y0, x1, y1 = crop
        if max(width, height) > limit:
            self.photo: Image = np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA), np.uint8)
            across, down = self.size[0] / width, self.size[1] / height
        else:
            self.photo = image[: self.size[1], : self.size[0]]
            across = down = 1.0
        left, top = min(round(x0 * across), self.size[0] - 1), min(round(y0 * down), self.size[1] - 1)
        # An odd last row or column is not in the clip: the frame loses it too.
        self.scaled: Size = max(1, round(x1 * across) - left), max(1, round(y1 * down) - top)
        self.crop: Rect = left, top, min(left + self.scaled[0], self.size[0]), min(top + self.scaled[1], self.size[1])
        inner = x0 > 0, y0 > 0, x1 < width, y1 < height
        self.mask = np.outer(
            _ramp(self.scaled[1], start=inner[1], end=inner[3]), _ramp(self.scaled[0], start=inner[0], end=inner[2])
        )[: self.crop[3] - top, : self.crop[2] - left]
        self.spread = _spread(_cells(1 - self.mask))

    @property
    def nbytes(self) -> int:
        return self.photo.nbytes + self.mask.nbytes + self.spread.nbytes

    @property
    def place(self) -> tuple[slice, slice]:
        x0, y0, x1, y1 = self.crop
        return slice(y0, y1), slice(x0, x1)


class Blend:
    """The frames of one clip, put back one after another: call it in their order."""

    def __init__(self, whole: WholePicture, fps: int) -> None:
        self._whole = whole
        self._canvas = whole.photo.copy()
        self._under = whole.photo[whole.place]  # what is under the frame
        self._mask = cv2.merge([whole.mask] * 3)
        self._masked = np.empty_like(self._mask)
        self._behind = self._under * (1 - self._mask)
        self._colours = _cells(self._under)
        self._follow = 1 - math.exp(-1 / (SETTLING * fps))
        self._correction: NDArray[np.float32] | None = None
        self._drawn = np.zeros((CELLS, CELLS, 3), np.float32)  # the correction that `_base` has in it
        self._base = self._behind

    def __call__(self, frame: Image) -> Image:
        """The picture with the frame in it. It holds until the next call."""
        whole = self._whole
        height, width = self._under.shape[:2]
        larger = whole.scaled[0] > frame.shape[1]
        scaled = cv2.resize(frame, whole.scaled, interpolation=cv2.INTER_CUBIC if larger else cv2.INTER_AREA)
        scaled = scaled[:height, :width]
        self._match(_cells(frame))
        cv2.multiply(scaled, self._mask, self._masked, dtype=cv2.CV_32F)
        cv2.add(self._masked, self._base, self._canvas[whole.place], dtype=cv2.CV_8U)
        return self._canvas

    def _match(self, colours: NDArray[np.float32]) -> None:
        """Follow the difference of colours along the band, and draw it where it has changed enough to be seen."""
        wanted = np.tensordot(self._whole.spread, self._colours - colours, 2)
        before = wanted if self._correction is None else self._correction
        self._correction = before + np.float32(self._follow) * (wanted - before)
        if np.abs(self._correction - self._drawn).max() > STEP:
            self._drawn = self._correction
            height, width = self._under.shape[:2]
            correction = cv2.resize(self._drawn, (width, height), interpolation=cv2.INTER_CUBIC)
            self._base = self._behind + self._mask * correction


def _ramp(length: int, *, start: bool, end: bool) -> NDArray[np.float32]:
    """1 along a side, but rising from 0 at the ends named, without a kink."""
    rise = np.clip((np.arange(length) + 0.5) / (BAND * length), 0, 1)
    rise = rise**3 * (rise * (6 * rise - 15) + 10)
    return np.asarray((rise if start else 1) * (rise[::-1] if end else 1) * np.ones(length), np.float32)


def _cells(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Means of (H, W) or (H, W, 3) pixels in CELLS x CELLS cells."""
    return np.asarray(cv2.resize(pixels, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float32)


def _spread(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each cell of a correction takes from every cell: from the band (`weight`), the nearest above all.

    (CELLS, CELLS, CELLS, CELLS), the last two of what it takes from. All 0 where there is no band: the crop is the
    whole picture.
    """
    y, x = np.indices((CELLS, CELLS), np.float32).reshape(2, -1)
    near = weight.ravel() / ((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 + NEAR**2) ** 2
    total = near.sum(axis=1, keepdims=True)
    spread = near / np.where(total > 0, total, 1)
    return np.asarray(spread.reshape(CELLS, CELLS, CELLS, CELLS), np.float32)
