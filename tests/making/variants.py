"""The example portrait as people's pictures are: the face small, at the edge, tilted, turned, behind glasses."""

from __future__ import annotations

import cv2
import numpy as np

from echod.inference.contract import Image

EYES = ((203, 101), (248, 103))  # of the example portrait, which is 512x512
FACE = (226.0, 115.0)


def variants(portrait: Image) -> dict[str, Image]:
    """By name, made from the example portrait."""
    return {
        "small": small(portrait),
        "at the edge": portrait[50:400, 172:512],
        "tilted": tilted(portrait, 14),
        "turned": turned(portrait, 0.22),
        "glasses": with_glasses(portrait),
    }


def small(portrait: Image) -> Image:
    """A face of 70 pixels, hair to chin 90, in a picture of 1600x1200."""
    picture = cv2.GaussianBlur(cv2.resize(portrait, (1600, 1200)), (0, 0), 40)
    side = 330
    picture[700 : 700 + side, 1000 : 1000 + side] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8)


def tilted(portrait: Image, degrees: float) -> Image:
    """The head on one side."""
    turn = cv2.getRotationMatrix2D(FACE, degrees, 1)
    return np.asarray(cv2.warpAffine(portrait, turn, (512, 512), borderMode=cv2.BORDER_REFLECT), np.uint8)


def turned(portrait: Image, depth: float) -> Image:
    """Seen from the side, as far as a plane can be: what is left is nearer by `depth` of its size, all is narrower."""
    far = 512 * depth / 2
    corners = np.array([(0, 0), (512, 0), (512, 512), (0, 512)], np.float32)
    seen = np.array([(60, 0), (452, far), (452, 512 - far), (60, 512)], np.float32)
    plane = cv2.getPerspectiveTransform(corners, seen)
    return np.asarray(cv2.warpPerspective(portrait, plane, (512, 512), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def with_glasses(portrait: Image) -> Image:
    """Dark rims and a bridge, drawn at twice the size so that they are smooth; a little light on each lens."""
    picture = cv2.resize(portrait, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    rims, shine = picture.copy(), picture.copy()
    (left_x, left_y), (right_x, right_y) = EYES
    for x, y in EYES:
        cv2.ellipse(rims, (2 * x, 2 * y + 4), (38, 30), 0, 0, 360, (40, 30, 28), 5, cv2.LINE_AA)
        cv2.line(shine, (2 * x - 22, 2 * y + 12), (2 * x - 4, 2 * y - 14), (255, 255, 255), 7, cv2.LINE_AA)
    cv2.line(rims, (2 * left_x + 38, 2 * left_y), (2 * right_x - 38, 2 * right_y), (40, 30, 28), 5, cv2.LINE_AA)
    cv2.line(rims, (2 * left_x - 38, 2 * left_y), (2 * left_x - 62, 2 * left_y - 6), (40, 30, 28), 5, cv2.LINE_AA)
    cv2.line(rims, (2 * right_x + 38, 2 * right_y), (2 * right_x + 62, 2 * right_y - 6), (40, 30, 28), 5, cv2.LINE_AA)
    return np.asarray(cv2.addWeighted(rims, 0.85, shine, 0.15, 0), np.uint8)
