"""An eye that closes: a lid of the skin around it comes down over it. Nothing is dragged, so brow and rims stay."""

from __future__ import annotations

import numpy as np

from ..contract import Image
from . import mesh
from .geometry import Array, FaceFrame, Region, smoothstep
from .skin import bare_skin, grain

MEETS = 0.9  # of the way from the upper to the lower lid; there they meet
OVERLAP = 0.022  # the closed eye's skin reaches this far below the mesh's lower lid: there may still be eye
LASH_REACH = 0.055  # lashes, liner and fold, above the mesh's lid; at most BELOW_BROW of the way to the brow
BELOW_BROW = 0.75
SOFT = 0.45  # of these reaches; from there on the lid's skin fades out
CORNER_REACH = 0.05  # lashes beyond the eye's corners
CHEEK_REACH = 0.09  # below the eye; what is skin there gives the lid its colour and grain
LASHES = 0.0065  # thickness of the line that ends a lid
LASH_OPACITY = 0.8
FRINGE, FRINGE_OPACITY = 0.018, 0.55  # how far lashes hang from that line, and how dense
FRINGE_STEP, FRINGE_FAN = 0.0135, 0.55  # from lash to lash, and how much they spread to the sides
CREASE, CREASE_SHADE = 0.011, 0.16  # half the width of the fold's shade
CREASE_RISE = 0.012  # the fold lies this far above the open lid's edge
BULGE, EDGE_SHADE = 0.035, 0.12  # a lid is a ball's: lighter in its middle, darker at its edge and to the corners
WARMTH = np.array((0.7, 1.05, 1.25), np.float32)  # skin in shade is redder: exponents of the shade in red, green, blue
APPEARS = 0.3  # of the way down: by then the lid's skin covers what was above the open eye
LOWER_LID = (0.55, 1.0)  # of the way down: from here the lower lid comes to meet the upper


class Eye:
    """One eye. Lids, fold and the way between them are v for each pixel of the region."""

    def __init__(
        self, image: Image, frame: FaceFrame, points: Array, upper: mesh.Curve, lower: mesh.Curve, brow: mesh.Curve
    ) -> None:
        edge, bottom, arch = (frame.to_face(points[list(curve)]) for curve in (upper, lower, brow))
        left, right = float(edge[0, 0]), float(edge[-1, 0])
        self.region = Region(
            frame,
            (left - 1.5 * CORNER_REACH, float(arch[:, 1].min())),
            (right + 1.5 * CORNER_REACH, float(bottom[:, 1].max()) + CHEEK_REACH),
            image,
        )
        u = self.region.u
        self._pixel = 1 / frame.unit
        self._across = np.asarray((2 * u - left - right) / max(right - left, self._pixel), np.float32)
        self._lid = _along(u, edge)
        self._opening = np.maximum(_along(u, bottom) - self._lid, 0)
        widest = max(float(self._opening.max()), LASHES)
        self._inside = smoothstep(self._opening, 0, 0.35 * widest)
        self._way = MEETS * self._opening
        self._set_covers(left, right, _along(u, arch))
        self._set_skin(image, points, frame)

    def _set_covers(self, left: float, right: float, arch: Array) -> None:
        """Where skin hides the open eye with its lashes, 0..1: above the lid's edge, and below it."""
        u, v = self.region.u, self.region.v
        floor = self._lid + self._opening
        top = np.maximum(self._lid - LASH_REACH, self._lid + BELOW_BROW * (arch - self._lid))
        beyond = np.maximum(np.maximum(left - u, u - right), 0)
        rise = np.maximum(self._lid - v, 0) / np.maximum(self._lid - top, self._pixel)
        sink = np.maximum(v - floor, 0) / OVERLAP
        self._cover = smoothstep(np.hypot(beyond / CORNER_REACH, rise), 1, SOFT)
        self._lower_cover = smoothstep(np.hypot(beyond / CORNER_REACH, sink), 1, SOFT)
        self._softness = np.asarray(1.5 * self._pixel + beyond, np.float32)
        hidden = np.hypot(beyond / CORNER_REACH, np.maximum(rise, sink)) < 1
        self._bare = ~hidden & (v > arch + 0.012)

    def _set_skin(self, image: Image, points: Array, frame: FaceFrame) -> None:
        picture = self.region.of(image)
        skin = bare_skin(picture, self._bare, self._pixel)
        # The grain is the cheek's, seen in a mirror below the eye: above it there may be lashes.
        mirror = 2 * (self._lid + self._opening + 2 * OVERLAP - self.region.v)
        self._skin = skin + grain(self.region.look_up(image, 0.0, np.clip(mirror, 0, 0.2)), self._pixel)
        band = picture[(abs(self._lid - self.region.v) < 2 * LASHES) & (self._inside > 0.5)]
        self._lash = _darkest(band)

    def draw(self, frame: Image, closed: float) -> None:
        """Put the lids into a frame: `closed` 0..1."""
        if closed <= 0:
            return
        above = self._lid + closed * self._way - self.region.v  # how far a pixel lies above the lid's edge
        appears = float(smoothstep(np.asarray(closed), 0, APPEARS))
        meets = float(smoothstep(np.asarray(closed), *LOWER_LID))
        upper = np.clip(above / self._softness + 0.5, 0, 1)
        cover = appears * self._cover * upper + meets * self._lower_cover * (1 - upper)
        lid = self._skin * self._shade(above, closed)[..., None] ** WARMTH
        pixels = self.region.of(frame)
        drawn = pixels + (lid - pixels) * cover[..., None]
        lashes = appears * self._lashes(above, closed)
        pixels[:] = np.clip(drawn + (self._lash - drawn) * lashes[..., None] + 0.5, 0, 255).astype(np.uint8)

    def _shade(self, above: Array, closed: float) -> Array:
        """(h, w) factor of the skin's colour: the fold, the ball under the lid, the dusk at its edge."""
        down = np.maximum(closed * self._way + CREASE_RISE, LASHES)
        place = above / down  # 0 at the edge, 1 at the fold
        fold = CREASE_SHADE * np.exp(-(((above - down) / np.where(above > down, 2, 1) / CREASE) ** 2))
        ball = BULGE * np.exp(-(((place - 0.55) / 0.3) ** 2)) * np.maximum(1 - self._across**2, 0)
        edge = EDGE_SHADE * smoothstep(place, 0.6, 0) * np.where(above > 0, 1, np.exp(-((above / LASHES / 2) ** 2)))
        return np.asarray(1 + self._inside * (closed * ball - (0.4 + 0.6 * closed) * fold - edge), np.float32)

    def _lashes(self, above: Array, closed: float) -> Array:
        """(h, w) 0..1: the line at the lid's edge, and the lashes that hang from it, spread to the sides."""
        thick = LASHES * (0.45 + 0.55 * self._inside)
        line = LASH_OPACITY * smoothstep(np.abs(above - 0.2 * thick) / (self._pixel + thick), 1, 0)
        below = np.maximum(-above, 0) / FRINGE
        root = self.region.u - FRINGE_FAN * self._across * below * FRINGE
        turn = 2 * np.pi * root / max(FRINGE_STEP, 3 * self._pixel)
        hairs = 0.5 + 0.3 * np.cos(turn) + 0.2 * np.cos(0.62 * turn + 1)  # no comb is that even
        length = 0.55 + 0.45 * np.abs(self._across)
        fringe = FRINGE_OPACITY * closed * hairs * smoothstep(below / length, 1, 0.1) * (above < 0)
        return np.asarray(self._inside * np.maximum(line, fringe), np.float32)


def _along(u: Array, curve: Array) -> Array:
    """(h, w) the v of a curve's points, (n, 2), above or below each pixel."""
    return np.asarray(np.interp(u, curve[:, 0], curve[:, 1]), np.float32)


def _darkest(pixels: Array | Image) -> Array:
    """(3,) the mean colour of the darkest fifth."""
    if not pixels.size:
        return np.zeros(3, np.float32)
    grey = pixels.mean(axis=-1)
    return np.asarray(pixels[grey <= np.percentile(grey, 20)].mean(axis=0), np.float32)
