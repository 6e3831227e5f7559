"""The portrait as a puppet: mouth, eyes and head, each drawn over the last."""

from __future__ import annotations

import cv2
import numpy as np

from ..contract import Image
from . import mesh
from .eye import Eye
from .geometry import Array, FaceFrame, smoothstep
from .mouth import Mouth

SHIFT = 0.012  # of the face height, at full sway
ROLL = 0.014  # radians, at full sway
HEAD = 0.75  # half size of what moves with the head, in face heights; twice that far out nothing moves


class Puppet:
    """A picture that can be posed."""

    def __init__(self, image: Image, points: Array) -> None:
        """`image` is (H, W, 3), `points` its face mesh, (468, 2) pixels."""
        frame = FaceFrame.of(points)
        self._image = image
        self._mouth = Mouth(image, frame, points)
        self._eyes = (
            Eye(image, frame, points, mesh.LEFT_EYE_UPPER, mesh.LEFT_EYE_LOWER, mesh.LEFT_BROW_BOTTOM),
            Eye(image, frame, points, mesh.RIGHT_EYE_UPPER, mesh.RIGHT_EYE_LOWER, mesh.RIGHT_BROW_BOTTOM),
        )
        self._head = Head(image, frame)
        drawn = (self._mouth, *self._eyes)
        parts = (self, *drawn, *(part.region for part in drawn), self._mouth.cavity, self._head)
        arrays = [value for part in parts for value in vars(part).values() if isinstance(value, np.ndarray)]
        self.nbytes = sum(array.nbytes for array in {id(array): array for array in arrays}.values())

    def pose(
        self, opening: float, rounding: float, lids: float, sway: tuple[float, float, float], shut: float = 1
    ) -> Image:
        """One frame: `opening` in face heights, `rounding` and `lids` 0..1, `sway` -1..1 across, down and in roll.

        `shut` 0..1 is how far lips that are apart in the picture come together first; all at 0 is the picture itself.
        """
        frame = self._image.copy()
        self._mouth.draw(frame, opening, rounding, shut)
        for eye in self._eyes:
            eye.draw(frame, lids)
        return self._head.move(frame, *sway)


class Head:
    """Moves the head as a whole; the picture's border and what is far from the face keep still."""

    def __init__(self, image: Image, frame: FaceFrame) -> None:
        height, width = image.shape[:2]
        self._unit = frame.unit
        self._x, self._y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        neck = frame.origin + 0.5 * frame.unit * frame.down
        centre = frame.origin - 0.3 * frame.unit * frame.down
        away = np.hypot(self._x - centre[0], self._y - centre[1]) / frame.unit
        border = np.minimum(np.minimum(self._x, width - 1 - self._x), np.minimum(self._y, height - 1 - self._y))
        self._weight = smoothstep(away, 2 * HEAD, HEAD) * smoothstep(border, 0, 0.25 * frame.unit)
        self._from_neck_x, self._from_neck_y = (
            np.asarray(self._weight * (self._x - neck[0]), np.float32),
            np.asarray(self._weight * (self._y - neck[1]), np.float32),
        )

    def move(self, frame: Image, across: float, down: float, roll: float) -> Image:
        """The frame with its head shifted and rolled, each -1..1 of the full sway."""
        shift, turn = SHIFT * self._unit, np.float32(ROLL * roll)
        x = self._x - self._weight * np.float32(shift * across) + self._from_neck_y * turn
        y = self._y - self._weight * np.float32(shift * down) - self._from_neck_x * turn
        return np.asarray(cv2.remap(frame, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)
