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

# Large blocks, taken and freed again and again, as a net's layers do.
LAYERS = """
import resource, sys
from pathlib import Path
from echod.host import heap

def held():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024

def layers():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytes([1]) * 40_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    heap.keep()
layers()
print(layers(), held())
heap.trim()
print(held())
"""

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps what was freed")


@glibc
def test_keep() -> None:
    """Large blocks are taken from what was freed, without a page fault, and go back by trimming."""

    def run(how: str) -> list[float]:
        command = [sys.executable, "-c", LAYERS, how]
        return [float(word) for word in subprocess.run(command, capture_output=True, check=True).stdout.split()]

    faults, held, trimmed = run("keep")
    assert faults < 100 < run("not")[0]  # 20 blocks of 9766 pages, or of 20 huge ones
    assert trimmed < held - 30  # MiB


@glibc
def test_trim() -> None:
    """What glibc keeps of a burst is given back by trimming."""
    output = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True).stdout
    full, freed, trimmed = map(float, output.split())
    assert freed > full - 50  # MiB: of 115, most stayed
    assert trimmed < full - 100
