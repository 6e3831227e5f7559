"""Mapped files. What has been read of one counts as the process's memory until it is let go."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Collection
from pathlib import Path


def let_go(paths: Collection[Path]) -> None:
    """Give back what was read of mapped files; what is looked at again is read again. Nothing may have been written."""
    names = {str(path.resolve()) for path in paths}
    maps = Path("/proc/self/maps")
    libc = ctypes.CDLL(None)
    for line in maps.read_text().splitlines() if maps.exists() else ():
        place, *_, name = line.split(maxsplit=5)
        if name in names:
            first, last = (int(end, 16) for end in place.split("-"))
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)
