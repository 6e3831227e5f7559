"""Skin where the picture shows something else: filled in from the skin around it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..contract import Image
from .geometry import Array, smoothstep

FINEST, LEVELS = 0.008, 5  # units; each level of the filling looks twice as far
ENOUGH = 0.25  # of what a level sees that must be skin, to be believed wholly
HAIR = 0.025  # units; what is darker than its surroundings of that size is a hair
DARKER, RIMS = (0.1, 0.01), (0.4, 0.65)  # of the skin's lightness: surely a hair, surely none; surely a rim, skin
GRAIN_BLUR, GRAIN_MOST = 0.012, 5.0  # units; levels of 255


def bare_skin(picture: Image, bare: NDArray[np.bool_], pixel: float) -> Array:
    """(h, w, 3) float: the picture without what is not `bare`, and without dark hairs, filled from what is near.

    Near skin counts first, so that the filling goes over into it; `pixel` is the size of one in units.
    """
    weight = ((0.001 + _smooth_and_light(picture, bare, pixel)) * bare + np.float32(1e-6))[..., None]
    weighted = np.concatenate([picture * weight, weight], axis=2)
    filled = np.zeros_like(weighted[..., :3])
    for level in reversed(range(LEVELS)):
        seen = cv2.GaussianBlur(weighted, (0, 0), max(FINEST * 2**level / pixel, 0.5))
        trust = 1.0 if level == LEVELS - 1 else np.minimum(seen[..., 3:] / ENOUGH, 1)
        filled += (seen[..., :3] / seen[..., 3:] - filled) * trust
    return np.asarray(filled, np.float32)


def _smooth_and_light(picture: Image, bare: NDArray[np.bool_], pixel: float) -> Array:
    """(h, w) 0..1, low for hairs, which are darker than what is around them, and for rims, which are dark."""
    grey = picture.mean(axis=2, dtype=np.float32)
    usual = float(np.median(grey[bare])) if bare.any() else 128.0
    weights = np.where(bare, np.float32(1), np.float32(1e-6))
    around = [cv2.GaussianBlur(field, (0, 0), max(HAIR / pixel, 0.5)) for field in (grey * weights, weights)]
    darker = around[0] / around[1] - grey
    return smoothstep(darker / max(usual, 1.0), *DARKER) * smoothstep(grey / max(usual, 1.0), *RIMS)


def grain(skin: Image, pixel: float) -> Array:
    """(h, w, 3) float: what is finer than a feature: pores, a brush's strokes, noise."""
    fine = skin.astype(np.float32)
    fine -= cv2.GaussianBlur(fine, (0, 0), max(GRAIN_BLUR / pixel, 0.5))
    return np.clip(fine, -GRAIN_MOST, GRAIN_MOST)
