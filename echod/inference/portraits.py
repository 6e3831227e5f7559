"""Portraits as inspection left them, and what was made of them and is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Protocol, TypeVar, cast

import numpy as np
from PIL import Image as Picture

from .contract import Image


class Kept(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Kept)


def read_portrait(path: Path) -> Image:
    """(H, W, 3) RGB. Only ever a file that the inspection child wrote."""
    Picture.MAX_IMAGE_PIXELS = None  # the limit is `max_pixels`, and inspection has seen to it
    with Picture.open(path) as image:
        return np.asarray(image.convert("RGB"))


class PortraitCache:
    """What was made of pictures, least recently used out first, bounded in bytes."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return sum(kept.nbytes for kept in self._kept.values())

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is kept under the key, of which each stands for things of one type, or else what `make` gives."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        kept = self._kept[key]
        while self.nbytes > self._limit:
            self._kept.popitem(last=False)
        return cast("T", kept)

    def clear(self) -> None:
        self._kept.clear()
