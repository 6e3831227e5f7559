"""Lips, jaw, and what shows behind the lips."""

from __future__ import annotations

import numpy as np

from ..engine import Image
from . import mesh
from .geometry import Array, FaceFrame, Region, smoothstep

UPPER_LIP_SHARE = 0.16  # of the opening; the lower lip does the rest
JAW_SHARE = 0.6  # of the lower lip's way; the chin goes this far
JAW_HALF_WIDTH = 0.42
NECK = 0.25  # below the chin the jaw's motion has faded out
GAP_UPPER_SHARE = 0.35  # of a gap between the lips in the picture, closed by the upper lip
NARROWING = 0.03  # of half the mouth, when fully rounded
REACH = 0.26  # to either side; beyond it lies the outline of the face, which must not follow

DARK, TONGUE, TEETH = (np.array(rgb, np.float32) for rgb in ((44, 16, 18), (146, 72, 74), (226, 216, 204)))
TEETH_LENGTH = 0.02  # below the line where the lips meet
TONGUE_HEIGHT = 0.045  # above the lower lip
TOOTH = 0.3  # width in mouth half widths


class Mouth:
    """A mouth that opens and rounds. s is the distance below the line where the lips meet.

    The upper lip moves what lies above that line, the lower lip what lies below; both fields vanish at the mouth's
    corners and beyond, so that the skin there holds together. Near the lips the fields do not depend on s: there the
    lips move without being stretched, and the edge of the cavity is where the lip's edge went.
    """

    def __init__(self, image: Image, frame: FaceFrame, points: Array) -> None:
        self._image, self._pixel = image, 1 / frame.unit
        upper, lower = (frame.to_face(points[list(lip)]) for lip in (mesh.INNER_UPPER_LIP, mesh.INNER_LOWER_LIP))
        self._half_width = max(float(upper[-1, 0] - upper[0, 0]) / 2, 2 * self._pixel)
        marks = [mesh.NOSE_BASE, mesh.UPPER_LIP_TOP, mesh.LOWER_LIP_BOTTOM, mesh.CHIN]
        nose, lip_top, lip_bottom, chin = (float(v) for v in frame.to_face(points[marks])[:, 1])
        self.region = Region(frame, (-0.5, nose - 0.03), (0.5, chin + NECK + 0.03), image)
        gap = np.maximum(lower[:, 1] - upper[:, 1], 0)
        line = np.polynomial.Polynomial.fit(upper[:, 0], upper[:, 1] + GAP_UPPER_SHARE * gap, 4)
        middle = float(line(0.0))
        self._set_fields(
            line, nose - middle, min(lip_top - middle, -0.01), max(lip_bottom - middle, 0.01), chin - middle
        )
        self._set_closing(np.interp(self.region.u, upper[:, 0], gap, 0, 0))
        around = self.region.of(image)[np.abs(self._s) < 0.25]
        self._light = float(np.clip(around.mean() / 150, 0.4, 1.1)) if around.size else 1.0

    def _set_fields(
        self, line: np.polynomial.Polynomial, nose: float, lip_top: float, lip_bottom: float, chin: float
    ) -> None:
        """How far each pixel follows the lips, the jaw and the narrowing; the marks are values of s."""
        u, v = self.region.u, self.region.v
        self._s = np.asarray(v - line(np.clip(u, -self._half_width, self._half_width)), np.float32)
        self._below = self._s > 0
        self._upper_lip = smoothstep(self._s, nose, lip_top)
        self._lower_lip = smoothstep(self._s, lip_bottom + 0.75 * (chin - lip_bottom), lip_bottom)
        jaw = smoothstep(self._s, chin + NECK, chin) * smoothstep(np.abs(u), JAW_HALF_WIDTH, 0.05)
        self._jaw = JAW_SHARE * (1 - self._lower_lip) * jaw
        around = smoothstep(np.abs(u), max(REACH, 1.4 * self._half_width), 0.9 * self._half_width) * np.where(
            self._below, self._lower_lip, self._upper_lip
        )
        self._narrowing = NARROWING / self._half_width * u * around

    def _set_closing(self, gap: Array) -> None:
        """The displacement that shuts a mouth that is open in the picture."""
        up, down = (1 - GAP_UPPER_SHARE) * gap * self._lower_lip, GAP_UPPER_SHARE * gap * self._upper_lip
        self._closing = np.where(self._below, up, -down).astype(np.float32)

    def draw(self, frame: Image, opening: float, rounding: float) -> None:
        """Put the mouth into a frame: `opening` between the inner lips in units, `rounding` 0..1."""
        du = self._narrowing * rounding
        u = (self.region.u + du) / self._half_width
        arch = np.maximum(1 - u * u, 0)
        up, down = UPPER_LIP_SHARE * opening, (1 - UPPER_LIP_SHARE) * opening
        rise = up * arch * self._upper_lip
        drop = down * (arch * self._lower_lip + self._jaw)
        pixels = self.region.look_up(self._image, du, np.where(self._below, -drop, rise) + self._closing)
        self._draw_cavity(pixels, u, below_upper=self._s + up * arch, above_lower=down * arch - self._s)
        self.region.of(frame)[:] = pixels

    def _draw_cavity(self, pixels: Image, u: Array, below_upper: Array, above_lower: Array) -> None:
        cover = np.clip(np.minimum(below_upper, above_lower) / self._pixel + 0.5, 0, 1) * (np.abs(u) < 1)
        rows, columns = np.nonzero((cover > 0) & (below_upper + above_lower > 0))
        if not rows.size:
            return
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        colour = self._light * cavity_colour(u[box], self._s[box], below_upper[box], above_lower[box], self._pixel)
        part = cover[box][..., None]
        pixels[box] = (pixels[box] * (1 - part) + colour * part).astype(np.uint8)


def cavity_colour(u: Array, s: Array, below_upper: Array, above_lower: Array, pixel: float) -> Array:
    """(h, w, 3) RGB behind the lips: darkness, a tongue that lies on the lower lip, teeth that hang from the skull.

    u in mouth half widths, the rest in units; `pixel` is the size of one.
    """
    across = np.abs(u)
    tongue = 0.8 * smoothstep(above_lower, TONGUE_HEIGHT, 0.01) * smoothstep(across, 0.85, 0.3)
    colour = DARK + (TONGUE - DARK) * tongue[..., None]
    bottom = TEETH_LENGTH * (1 - 0.6 * across**2)
    teeth = smoothstep(s - bottom, pixel, -pixel) * smoothstep(across, 0.92, 0.6)
    shadow = 0.5 + 0.5 * smoothstep(below_upper, 0.0, 0.02)  # of the upper lip
    between = 1 - 0.12 * np.maximum(np.cos(2 * np.pi * u / TOOTH), 0) ** 12
    shade = shadow * between * (1 - 0.35 * across**2)
    return np.asarray(colour + (TEETH * shade[..., None] - colour) * teeth[..., None], np.float32)
