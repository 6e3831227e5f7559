"""The heap of the C library: what is freed of it goes back to the system."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Return every free page. glibc by itself returns the end of the heap alone, so that a burst is kept for good."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:  # only glibc has it
        malloc_trim(0)
