"""Portraits as inspection left them, and prepared ones that are kept."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image as Picture

from .contract import Image, Portrait, Size

PortraitKey: TypeAlias = tuple[str, Size, str]  # sha256 of the picture, size, engine


def read_portrait(path: Path) -> Image:
    """(H, W, 3) RGB. Only ever a file that the inspection child wrote."""
    Picture.MAX_IMAGE_PIXELS = None  # the limit is `max_pixels`, and inspection has seen to it
    with Picture.open(path) as image:
        return np.asarray(image.convert("RGB"))


class PortraitCache:
    """Prepared portraits, least recently used out first, bounded in bytes."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self._limit = limit
        self._portraits: OrderedDict[PortraitKey, Portrait] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return sum(portrait.nbytes for portrait in self._portraits.values())

    def get(self, key: PortraitKey) -> Portrait | None:
        if key in self._portraits:
            self._portraits.move_to_end(key)
        return self._portraits.get(key)

    def put(self, key: PortraitKey, portrait: Portrait) -> None:
        self._portraits[key] = portrait
        self._portraits.move_to_end(key)
        while self.nbytes > self._limit:
            self._portraits.popitem(last=False)

    def clear(self) -> None:
        self._portraits.clear()
