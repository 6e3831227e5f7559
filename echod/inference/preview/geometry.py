"""The face's own frame of reference, in which every motion of the puppet is described.

u runs along the mouth, v down the face, origin between the mouth's corners, unit = face height (forehead to chin).
A frame is drawn by looking up, for each of its pixels, where that pixel comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..contract import Image, Rect
from . import mesh

Array: TypeAlias = NDArray[np.floating[Any]]  # float32 wherever it is as large as the picture


def smoothstep(x: Array, start: float, end: float) -> Array:
    """0 at `start`, 1 at `end` (on either side of it), smooth between."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


@dataclass(frozen=True)
class FaceFrame:
    """Origin in pixels, unit vectors along the mouth and down the face, pixels per unit."""

    origin: Array
    across: Array
    down: Array
    unit: float

    @classmethod
    def of(cls, points: Array) -> FaceFrame:
        """The frame of a face mesh, (468, 2) pixels. Mouth and eyes each have a say in what is level."""
        left, right = points[mesh.INNER_UPPER_LIP[0]], points[mesh.INNER_UPPER_LIP[-1]]
        eye_left, eye_right = points[list(mesh.OUTER_EYE_CORNERS)]
        across = _direction(_direction(right - left) + _direction(eye_right - eye_left))
        down = np.array([-across[1], across[0]], np.float32)
        height = float((points[mesh.CHIN] - points[mesh.FOREHEAD]) @ down)
        return cls((left + right) / 2, across, down, max(height, 1.0))

    def to_face(self, pixels: Array) -> Array:
        """(..., 2) x and y to (..., 2) u and v."""
        return np.asarray((pixels - self.origin) @ np.stack([self.across, self.down], 1) / self.unit, np.float32)

    def to_pixels(self, uv: Array) -> Array:
        """(..., 2) u and v to (..., 2) x and y."""
        return np.asarray(uv @ np.stack([self.across, self.down]) * self.unit + self.origin, np.float32)


def _direction(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), np.float32)


class Region:
    """A rectangle of the picture; x, y, u and v of each of its pixels are (h, w) each."""

    def __init__(self, frame: FaceFrame, low: tuple[float, float], high: tuple[float, float], image: Image) -> None:
        """The part of the picture that holds the box from `low` to `high`, (u, v) each; at least one pixel."""
        self._frame = frame
        self.rect = _bounds(frame, low, high, image)
        x0, y0, x1, y1 = self.rect
        self.x, self.y = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
        uv = frame.to_face(np.stack([self.x, self.y], axis=-1))
        self.u, self.v = np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1])

    def look_up(self, image: Image, du: Array | float, dv: Array) -> Image:
        """(h, w, 3): the region, each pixel taken from (du, dv) away in the whole picture."""
        (ax, ay), (bx, by) = self._frame.across * self._frame.unit, self._frame.down * self._frame.unit
        x, y = self.x + (du * ax + dv * bx), self.y + (du * ay + dv * by)
        return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    def of(self, image: Image) -> Image:
        """A view of the region's pixels."""
        x0, y0, x1, y1 = self.rect
        return image[y0:y1, x0:x1]


def _bounds(frame: FaceFrame, low: tuple[float, float], high: tuple[float, float], image: Image) -> Rect:
    corners = np.array([(u, v) for u in (low[0], high[0]) for v in (low[1], high[1])], np.float32)
    pixels = frame.to_pixels(corners)
    limit = np.array([image.shape[1], image.shape[0]])
    x0, y0 = (int(value) for value in np.clip(np.floor(pixels.min(axis=0)), 0, limit - 1))
    x1, y1 = (int(value) for value in np.clip(np.ceil(pixels.max(axis=0)), 1, limit))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
