"""What shows behind the lips: darkness, a tongue, and teeth; the picture's own teeth where it shows some."""

from __future__ import annotations

import cv2
import numpy as np

from ..contract import Image
from .geometry import Array, smoothstep

DARK, GUM, TONGUE, TEETH = (
    np.array(rgb, np.float32) for rgb in ((26, 9, 9), (72, 29, 28), (150, 78, 76), (220, 206, 190))
)
TONGUE_TOP = 0.5  # of the way from the lower lip to the upper, at most TONGUE_HEIGHT
TONGUE_HEIGHT = 0.035
TONGUE_LIGHT = 0.7  # what of the light reaches it
GUM_REACH = 0.02  # inside of the lips, which catches light too
CORNER = (1.0, 0.82)  # half widths from the middle: where lips still touch, and where they are wholly apart
SOFT = 0.006  # units over which a lip's edge turns inwards
TEETH_LENGTH = 0.024  # below the line where the lips meet
TOOTH_ENDS = (0, 0.28, 0.49, 0.69, 0.84, 1)  # of an upper jaw's half, from the middle, in mouth half widths
TOOTH_LENGTHS = np.array((1, 0.9, 0.95, 0.8, 0.65), np.float32)
TOOTH_SHADES = np.array((1, 0.96, 0.88, 0.76, 0.6), np.float32)
DEEP = 0.04  # between the lips; through less than that, less light comes in
LIP_SHADOW = 0.018  # reach of the upper lip's
OWN_AT_LEAST = 0.004  # square units that must look like teeth
BETWEEN_OWN = 0.04  # what is dark or red between teeth, up to this width, belongs to them
WHITER = (0.98, 1.06)  # green over red, compared to the skin's: surely lip, surely tooth


class Cavity:
    """A region's pixels behind the lips. `gap` is what the picture itself shows there, 0..1, (h, w)."""

    def __init__(self, picture: Image, gap: Array, skin: Array, pixel: float) -> None:
        """`skin` is the (3,) colour around the mouth, `pixel` the size of one in units."""
        self._picture, self._pixel = picture, pixel
        self._light = float(np.clip(skin.mean() / 150, 0.4, 1.1))
        greenness = _green_over_red(picture) / _green_over_red(skin)
        reach = max(round(BETWEEN_OWN / pixel), 1)
        own = cv2.morphologyEx(gap * smoothstep(greenness, *WHITER), cv2.MORPH_CLOSE, np.ones((reach, reach)))
        own = gap * cv2.GaussianBlur(own, (0, 0), max(0.12 * reach, 0.5))
        self._own = own if own.sum() * pixel**2 > OWN_AT_LEAST else None

    def draw(self, pixels: Image, u: Array, s: Array, below_upper: Array, above_lower: Array) -> None:
        """Put it into the region's `pixels`, between the lips.

        u in mouth half widths, the rest in units: s below the line where the lips meet, and distances from the lips.
        """
        inside = np.minimum(below_upper, above_lower)
        rows = np.flatnonzero((inside > -self._pixel / 2).any(axis=1))
        columns = np.flatnonzero((np.abs(u) < 1).any(axis=0))
        if not (rows.size and columns.size):
            return
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        u, s, below_upper, above_lower = (field[box] for field in (u, s, below_upper, above_lower))
        soft = max(SOFT, 1.5 * self._pixel)
        parted = smoothstep(below_upper + above_lower, 0, 2 * soft)
        cover = smoothstep(inside[box], -0.3 * soft, 0.7 * soft) * smoothstep(np.abs(u), *CORNER) * parted
        if self._own is None:
            teeth, shade = upper_teeth(u, s, self._pixel)
            colour = self._light * TEETH * shade[..., None]
        else:
            teeth, colour = self._own[box], self._picture[box].astype(np.float32)
        light = (0.45 + 0.55 * smoothstep(below_upper, 0, LIP_SHADOW)) * (
            0.4 + 0.6 * smoothstep(below_upper + above_lower, 0, DEEP)
        )
        dark = self._light * DARK
        behind = self._light * flesh(u, below_upper, above_lower)
        drawn = behind + (dark + (colour - dark) * light[..., None] - behind) * teeth[..., None]
        pixels[box] = (pixels[box] + (drawn - pixels[box]) * cover[..., None]).astype(np.uint8)


def _green_over_red(rgb: Image | Array) -> Array:
    return np.asarray((rgb[..., 1] + np.float32(1)) / (rgb[..., 0] + np.float32(1)), np.float32)


def flesh(u: Array, below_upper: Array, above_lower: Array) -> Array:
    """(h, w, 3) darkness to the back, the lips' red inside, and a tongue that lies behind the lower one."""
    deep = smoothstep(np.minimum(below_upper, above_lower), 0, GUM_REACH) * smoothstep(np.abs(u), 1, 0.4)
    tongue_top = np.minimum(TONGUE_TOP * (below_upper + above_lower), TONGUE_HEIGHT) * np.sqrt(np.maximum(1 - u * u, 0))
    height = above_lower / np.maximum(tongue_top, 1e-4)  # 0 at the lower lip, 1 at the tongue's back
    tongue = (
        TONGUE_LIGHT * smoothstep(height, 1, 0.3) * smoothstep(height, -0.3, 0.35) * smoothstep(np.abs(u), 0.9, 0.4)
    )
    behind = GUM + (DARK - GUM) * deep[..., None]
    return np.asarray(behind + (TONGUE - behind) * tongue[..., None], np.float32)


def upper_teeth(u: Array, s: Array, pixel: float) -> tuple[Array, Array]:
    """Where upper teeth are and how light, 0..1, (h, w) each. They hang from the skull, whatever the jaw does.

    Each ends round, at its own length; less light comes to the sides, where the cheek is close, and between two teeth.
    """
    across = np.abs(u)
    place = np.interp(across, TOOTH_ENDS, range(len(TOOTH_ENDS))).astype(np.float32)
    tooth = np.minimum(place.astype(np.intp), len(TOOTH_LENGTHS) - 1)
    side = (2 * (place - tooth) - 1) ** 4  # 1 at a tooth's sides, 0 in its middle
    end = TEETH_LENGTH * TOOTH_LENGTHS[tooth] * (1 - 0.15 * side) * (1 - 0.3 * across**2)
    cover = smoothstep(s - end, 1.5 * pixel, -1.5 * pixel) * smoothstep(across, 0.95, 0.7)
    return cover, TOOTH_SHADES[tooth] * (1 - 0.2 * side**3)
