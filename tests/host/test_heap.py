"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# Blocks too small to be mapped one by one, freed in the midst of others that stay.
BURST = """
from pathlib import Path
from echod.host import heap

def held():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024

blocks = [bytes([1]) * 60_000 for _ in range(2000)]
stay = blocks[::100]
full = held()
del blocks
freed = held()
heap.trim()
print(full, freed, held())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps what was freed")
def test_trim() -> None:
    """What glibc keeps of a burst is given back by trimming."""
    output = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True).stdout
    full, freed, trimmed = map(float, output.split())
    assert freed > full - 50  # MiB: of 115, most stayed
    assert trimmed < full - 100
