"""The 468-point face mesh (MediaPipe's) on OpenCV, and the points of it that the puppet uses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..contract import Box, Image

INPUT_SIDE = 192  # pixels of the net's square input
MARGIN = 1.5  # input side over face side, as the net was trained

Curve: TypeAlias = tuple[int, ...]

# Left and right as seen in the picture; each curve runs from left to right.
INNER_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_LIP_TOP, LOWER_LIP_BOTTOM, NOSE_BASE, CHIN, FOREHEAD = 0, 17, 2, 152, 10
LEFT_EYE_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LEFT_EYE_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
RIGHT_EYE_UPPER = (362, 398, 384, 385, 386, 387, 388, 466, 263)
RIGHT_EYE_LOWER = (362, 382, 381, 380, 374, 373, 390, 249, 263)
LEFT_BROW_BOTTOM, RIGHT_BROW_BOTTOM = (46, 53, 52, 65, 55), (285, 295, 282, 283, 276)
OUTER_EYE_CORNERS = (33, 263)


@cache
def _net() -> cv2.dnn.Net:
    return cv2.dnn.readNetFromTFLite(str(Path(__file__).with_name("face_landmark.tflite")))


def find_landmarks(image: Image, box: Box) -> NDArray[np.float32]:
    """The mesh of the face in `box`: (468, 2) x and y in pixels. Looks twice, the second time with the eyes level."""
    x0, y0, x1, y1 = box
    points = _look(image, ((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0), 0.0)
    left, right = points[list(OUTER_EYE_CORNERS)]
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    roll = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
    return _look(image, (float(centre[0]), float(centre[1])), float((high - low).max()), roll)


def _look(image: Image, centre: tuple[float, float], side: float, roll: float) -> NDArray[np.float32]:
    to_input = cv2.getRotationMatrix2D(centre, np.degrees(roll), INPUT_SIDE / (side * MARGIN))
    to_input[:, 2] += np.array([INPUT_SIDE / 2 - centre[0], INPUT_SIDE / 2 - centre[1]])
    face = cv2.warpAffine(image, to_input, (INPUT_SIDE, INPUT_SIDE), borderMode=cv2.BORDER_REPLICATE)
    net = _net()
    net.setInput(cv2.dnn.blobFromImage(face, 1 / 255))
    points = net.forward().reshape(468, 3)[:, :2]
    back = cv2.invertAffineTransform(to_input)
    return np.asarray(points @ back[:, :2].T + back[:, 2], np.float32)
