"""Prepared portraits that are kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

from .contract import Portrait, Size

PortraitKey: TypeAlias = tuple[str, Size, str]  # sha256 of the picture, size, engine


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
