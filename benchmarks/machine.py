"""What a benchmark ran on, in one line."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def machine() -> str:
    """Processor, cores, kernel, and how busy the box was already: figures of a busy one are not worth keeping."""
    load = os.getloadavg()[0]
    return f"{processor()}, {os.cpu_count()} cores, Linux {platform.release()}, load {load:.1f} before this"


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def file_system(directory: Path) -> str:
    """Its type: `ext4`, `tmpfs`."""
    return subprocess.check_output(["stat", "--file-system", "--format=%T", directory], text=True).strip()
