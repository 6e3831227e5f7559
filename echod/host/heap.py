"""The heap of the C library: what is freed of it goes back to the system, sooner or later."""

from __future__ import annotations

import ctypes

# mallopt's names, as malloc.h has them
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1  # bytes, what a C int holds


def trim() -> None:
    """Return every free page. glibc by itself returns the end of the heap alone, so that a burst is kept for good."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:  # only glibc has it
        malloc_trim(0)


def keep() -> None:
    """Keep what is freed for whoever asks next, until `trim`.

    glibc maps large blocks one by one and unmaps them when they are freed, so that the activations of
    a net are paid for anew in every layer: a page fault and 4096 zeros a page. For processes that trim at times.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, LARGEST)
