"""An eye that closes: a lid of the skin around it comes down over it. Nothing is dragged, so brow and rims stay."""

from __future__ import annotations

import cv2
import numpy as np

from ..engine import Image
from . import mesh
from .geometry import Array, FaceFrame, Region, smoothstep

OVERLAP = 0.012  # the closed lid reaches this far below the mesh's lower lid: there may still be eye instead of skin
LASH_REACH = 0.055  # lashes, liner and fold, above the mesh's lid; at most BELOW_BROW of the way to the brow
BELOW_BROW = 0.7
SOFT = 0.6  # of these reaches; from there on the lid's skin fades out
CORNER_REACH = 0.045  # lashes beyond the eye's corners
CHEEK_REACH = 0.07  # below the eye; what is skin there gives the lid its colour
SKIN_BLUR = 0.035
LASHES = 0.009  # thickness of the line that ends a lid
LASH_OPACITY = 0.75
FOLD = 0.02  # half the width of its shade
FOLD_SHADE, EDGE_SHADE = 0.09, 0.08  # a lid is a ball's: darker at the fold above and at its edge
APPEARS = 0.25  # of the way down: by then the lid's skin covers what was above the open eye


class Eye:
    """One eye. The lid's edge and its way down are v for each pixel of the region."""

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
        u, v = self.region.u, self.region.v
        self._pixel = 1 / frame.unit
        self._lid = np.asarray(np.interp(u, edge[:, 0], edge[:, 1]), np.float32)
        floor = np.asarray(np.interp(u, bottom[:, 0], bottom[:, 1]), np.float32)
        arch_v = np.asarray(np.interp(u, arch[:, 0], arch[:, 1]), np.float32)
        opening = np.maximum(floor - self._lid, 0)
        widest = max(float(opening.max()), LASHES)
        self._inside = np.minimum(1, 2.5 * opening / widest)
        self._way = opening + OVERLAP * self._inside
        top = np.maximum(self._lid - LASH_REACH, self._lid + BELOW_BROW * (arch_v - self._lid))
        beyond = np.maximum(left - u, u - right)
        rise = np.maximum(self._lid - v, 0) / np.maximum(self._lid - top, self._pixel)
        self._cover = smoothstep(np.hypot(np.maximum(beyond, 0) / CORNER_REACH, rise), 1, SOFT)
        self._softness = np.asarray(self._pixel + np.maximum(beyond, 0), np.float32)
        bare = (v > arch_v + OVERLAP) & ((v < top) | (v > floor + OVERLAP) | (beyond > 0.8 * CORNER_REACH))
        picture = self.region.of(image)
        self._skin = _smooth_skin(picture, bare, SKIN_BLUR * frame.unit)
        self._lash = _darkest(picture[self._inside > 0.5])

    def draw(self, frame: Image, closed: float) -> None:
        """Put the lid into a frame: `closed` 0..1."""
        if closed <= 0:
            return
        above = self._lid + closed * self._way - self.region.v  # how far a pixel lies above the lid's edge
        appears = min(1, closed / APPEARS)
        down = np.maximum(closed * self._way, LASHES)
        fold = FOLD_SHADE * np.exp(-(((above - down) / FOLD) ** 2))
        round_ = EDGE_SHADE * np.clip(1 - above / down, 0, 1) ** 2
        lid = self._skin * (1 - self._inside * (fold + round_))[..., None]
        cover = appears * self._cover * np.clip(above / self._softness + 0.5, 0, 1)
        thick = LASHES * (0.4 + 0.6 * self._inside)
        lashes = LASH_OPACITY * appears * self._inside * smoothstep(np.abs(above - 0.2 * thick), thick, 0)
        pixels = self.region.of(frame)
        drawn = pixels + (lid - pixels) * cover[..., None]
        pixels[:] = (drawn + (self._lash - drawn) * lashes[..., None] + 0.5).astype(np.uint8)


def _smooth_skin(picture: Image, bare: Array, blur: float) -> Array:
    """The picture without what is not `bare`, and without dark hairs: both filled from the skin around them."""
    grey = picture.mean(axis=2)
    low, high = np.percentile(grey[bare], (8, 35)) if bare.any() else (0.0, 1.0)
    weight = np.asarray((0.001 + smoothstep(grey, low, max(high, low + 1))) * bare + 1e-6, np.float32)[..., None]
    both = cv2.GaussianBlur(np.concatenate([picture * weight, weight], axis=2), (0, 0), max(blur, 0.5))
    return np.asarray(both[..., :3] / both[..., 3:], np.float32)


def _darkest(pixels: Image) -> Array:
    """(3,) the mean colour of an eye's darkest tenth."""
    if not pixels.size:
        return np.zeros(3, np.float32)
    grey = pixels.mean(axis=-1)
    return np.asarray(pixels[grey <= np.percentile(grey, 10)].mean(axis=0), np.float32)
