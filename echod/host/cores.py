"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def cores(root: Path = Path("/")) -> int:
    """Those of its CPU set, and no more than its control groups give it time of."""
    return max(1, min(len(os.sched_getaffinity(0)), *_quotas(root)))


def _quotas(root: Path) -> list[int]:
    """Whole cores that each control group (v2) above this process may use at once; a large number where all."""
    groups, found = root / "sys/fs/cgroup", [1 << 16]
    try:
        (place,) = [line[3:] for line in (root / "proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    except (OSError, ValueError):
        return found
    own = groups / place.strip("/")
    for group in (own, *own.parents):
        try:
            quota, period = (group / "cpu.max").read_text().split()
            found.append(int(quota) // int(period))
        except (OSError, ValueError):  # the root has none, and "max" is no number
            continue
    return found
