"""Lips and jaw."""

from __future__ import annotations

import cv2
import numpy as np

from ..contract import Image
from . import mesh
from .cavity import Cavity
from .geometry import Array, FaceFrame, Region, smoothstep

UPPER_LIP_SHARE = 0.16  # of the opening; the lower lip does the rest
JAW_SHARE = 0.6  # of the lower lip's way; the chin goes this far
JAW_HALF_WIDTH = 0.42
NECK = 0.25  # below the chin the jaw's motion has faded out
GAP_UPPER_SHARE = 0.35  # of a gap between the lips in the picture, closed by the upper lip
NARROWING = 0.03  # of half the mouth, when fully rounded
WIDEST = 0.085  # opening between the inner lips at full voice, in units
OPEN_NARROWING = 0.25  # of NARROWING, at WIDEST: the corners give way to a jaw that drops
LINE_SHADE, LINE_WIDTH = 0.45, 0.006  # of the line where lips meet that are apart in the picture
AROUND = 0.25  # above and below the lips, the skin whose colour tells the light
TAIL = (0.95, 1.08, 1.3, 1.6)  # half widths from the middle: where the dark line that goes on beside a mouth is
GAPE_INWARDS = 0.12  # so much further in where lips are apart: the dark behind their corners
TAIL_HEIGHT = 0.03  # half the height of that line's surroundings
TAIL_THICK = 0.028  # at most that
GAPES = (0.015, 0.03)  # gap between the lips in the picture: surely shut, surely apart
PARTED = 0.02  # opening at which that line is gone
REACH = 0.26  # to either side; beyond it lies the outline of the face, which must not follow


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
        shown = np.asarray(np.interp(self.region.u, upper[:, 0], gap, 0, 0), np.float32)
        line = np.polynomial.Polynomial.fit(upper[:, 0], upper[:, 1] + GAP_UPPER_SHARE * gap, 4)
        middle = float(line(0.0))
        self._set_fields(
            line, nose - middle, min(lip_top - middle, -0.01), max(lip_bottom - middle, 0.01), chin - middle
        )
        self._set_closing(GAP_UPPER_SHARE * shown, (1 - GAP_UPPER_SHARE) * shown)
        picture = self.region.of(image)
        around = picture[np.abs(self._s) < AROUND]
        skin = np.median(around, axis=0).astype(np.float32) if around.size else np.full(3, 150, np.float32)
        inside = np.minimum(self._s + GAP_UPPER_SHARE * shown, (1 - GAP_UPPER_SHARE) * shown - self._s)
        self._gapes = float(smoothstep(shown.max(), *GAPES))
        self._set_healed(image)
        self.cavity = Cavity(picture, smoothstep(inside, 0, 3 * self._pixel), skin, self._pixel)

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

    def _set_closing(self, above: Array, below: Array) -> None:
        """Shut a mouth that is open in the picture: where the lips go, and a shade along the line where they meet."""
        arch = np.maximum(1 - (self.region.u / self._half_width) ** 2, 0.05)
        self._closing = np.where(self._below, below * self._lower_lip, -above * self._upper_lip) / arch
        contact = LINE_SHADE * np.exp(-((self._s / LINE_WIDTH) ** 2)) * smoothstep(above + below, 0, 2 * LINE_WIDTH)
        rows = np.flatnonzero(contact.max(axis=1) > 0.01)
        self._contact_rows = slice(rows[0], rows[-1] + 1) if rows.size else slice(0)
        self._contact = np.asarray(contact[self._contact_rows], np.float32)

    def _set_healed(self, image: Image) -> None:
        """The picture without the dark lines that go on beside a mouth: an open mouth leaves them behind."""
        across = np.abs(self.region.u) / self._half_width
        near = smoothstep(np.abs(self._s), TAIL_HEIGHT, 0.4 * TAIL_HEIGHT)
        inwards = GAPE_INWARDS * self._gapes
        beside = smoothstep(across, TAIL[0] - inwards, TAIL[1] - inwards) * smoothstep(across, *TAIL[:1:-1]) * near
        picture = self.region.of(image)
        reach = 2 * round(TAIL_THICK * (1 + self._gapes) / self._pixel / 2) + 1
        light = cv2.morphologyEx(picture, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        light = cv2.GaussianBlur(light, (0, 0), max(reach / 6, 0.5))
        healed = image.copy()
        self.region.of(healed)[:] = (picture + (light.astype(np.float32) - picture) * beside[..., None] + 0.5).astype(
            np.uint8
        )
        self._healed = healed

    def _picture(self, healed: float) -> Image:
        if healed in (0, 1):
            return self._healed if healed else self._image
        return np.asarray(cv2.addWeighted(self._healed, healed, self._image, 1 - healed, 0), np.uint8)

    def draw(self, frame: Image, opening: float, rounding: float, shut: float) -> None:
        """Put the mouth into a frame: `opening` between the inner lips in units, `rounding` and `shut` 0..1.

        `shut` is how far lips that are apart in the picture have come together, before they open.
        """
        du = self._narrowing * (rounding + OPEN_NARROWING * opening / WIDEST)
        u = (self.region.u + du) / self._half_width
        arch = np.maximum(1 - u * u, 0)
        up, down = UPPER_LIP_SHARE * opening * arch, (1 - UPPER_LIP_SHARE) * opening * _bow(arch)
        drop = down * self._lower_lip + (1 - UPPER_LIP_SHARE) * opening * self._jaw
        dv = np.where(self._below, -drop, up * self._upper_lip) + shut * self._closing * arch
        parted = float(smoothstep(np.asarray(opening), 0, PARTED))
        pixels = self.region.look_up(self._picture(max(parted, shut * self._gapes)), du, dv)
        self._shade_contact(pixels, u, shut)
        if opening > 0:
            self.cavity.draw(pixels, u, self._s, below_upper=self._s + up, above_lower=down - self._s)
        self.region.of(frame)[:] = pixels

    def _shade_contact(self, pixels: Image, u: Array, shut: float) -> None:
        shade = 1 - shut * self._contact * smoothstep(np.abs(u[self._contact_rows]), 1, 0.85)
        pixels[self._contact_rows] = (pixels[self._contact_rows] * shade[..., None] + 0.5).astype(np.uint8)


def _bow(arch: Array) -> Array:
    """arch ** 0.625, in roots, which are fast: as a parabola a lip would look pointed, as an ellipse (0.5) be torn."""
    return np.asarray(np.sqrt(arch * np.sqrt(np.sqrt(arch))), np.float32)
