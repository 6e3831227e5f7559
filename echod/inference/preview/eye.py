"""An eye that closes: the skin between lid and brow is drawn down over it, the brow stays."""

from __future__ import annotations

import numpy as np

from ..engine import Image
from . import mesh
from .geometry import Array, FaceFrame, Region, smoothstep

FOLD = 0.75  # of the way from lid to brow; skin above it keeps still
EYEBALL = 0.01  # above the mesh's lid edge there may still be eye instead of skin
OVERLAP = 0.012  # the closed lid reaches this far below the mesh's lower lid, for the same reason
LASHES = 0.008  # thickness of the line that ends a moved lid
LASH_SHADE = 0.55


class Eye:
    """One eye. The upper lid's edge, the lower lid's and the still fold above are v for each column of the region."""

    def __init__(
        self, image: Image, frame: FaceFrame, points: Array, upper: mesh.Curve, lower: mesh.Curve, brow: mesh.Curve
    ) -> None:
        self._image, self._unit = image, frame.unit
        edge, bottom, arch = (frame.to_face(points[list(curve)]) for curve in (upper, lower, brow))
        top = float(arch[:, 1].min())
        self.region = Region(
            frame, (float(edge[0, 0]), top), (float(edge[-1, 0]), float(bottom[:, 1].max()) + 2 * OVERLAP), image
        )
        u = self.region.u
        lid = np.interp(u, edge[:, 0], edge[:, 1])
        fold = lid + FOLD * (np.interp(u, arch[:, 0], arch[:, 1]) - lid)
        opening = np.maximum(np.interp(u, bottom[:, 0], bottom[:, 1]) - lid, 0)
        widest = max(float(opening.max()), LASHES)
        self._way = np.asarray(opening * (1 + OVERLAP / widest), np.float32)
        self._lid, self._fold = np.asarray(lid, np.float32), np.asarray(np.minimum(fold, lid - 2 * EYEBALL), np.float32)
        self._inside = np.asarray(np.clip(3 * opening / widest, 0, 1), np.float32)

    def draw(self, frame: Image, closed: float) -> None:
        """Put the lid into a frame: `closed` 0..1."""
        if closed <= 0:
            return
        v = self.region.v
        edge = self._lid + closed * self._way
        skin = self._lid - EYEBALL * min(1, 4 * closed) * self._inside
        source = self._fold + (v - self._fold) * (skin - self._fold) / (edge - self._fold)
        lid = self.region.look_up(self._image, 0.0, np.where(v > self._fold, source - v, 0).astype(np.float32))
        lashes = smoothstep(np.abs(v - edge + LASHES / 2), LASHES, 0.3 * LASHES) * self._inside
        shade = 1 - LASH_SHADE * min(1, 4 * closed) * lashes
        cover = np.clip((edge - v) * self._unit + 0.5, 0, 1)[..., None]
        pixels = self.region.of(frame)
        pixels[:] = (pixels * (1 - cover) + lid * shade[..., None] * cover + 0.5).astype(np.uint8)
