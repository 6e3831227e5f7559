"""The clock of a whole machine is set by years while a daemon works on it: a machine of its own, user-mode Linux."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
export PATH={path} HOME=/tmp TMPDIR=/tmp
cd {root}
mkdir /tmp/work
{python} -m tests.drivers.stepped /tmp/work 2>&1
cat /tmp/work/echod.log | sed 's/^/log /' | tail -40
halt -f
"""


@pytest.fixture
def linux() -> str:
    found = shutil.which("linux.uml")
    if found is None:
        pytest.skip("a clock that may be set needs a machine of its own: apt install user-mode-linux")
    return found


def boot(linux: str, init: Path) -> str:
    """What a machine with this one's files, which it cannot change, says on its console before it halts."""
    arguments = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "mem=3G", "quiet", f"init={init}"]
    console = ["con=null", "con0=null,fd:1"]
    ended = subprocess.run(
        [linux, *arguments, *console], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=800
    )
    return ended.stdout


def test_clock_that_is_set(linux: str, tmp_path: Path) -> None:
    """Jobs and queues end whatever the clock does; a mistake of years deletes nothing and lets nobody in."""
    init = tmp_path / "init"
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    init.write_text(INIT.format(path=path, root=ROOT, python=sys.executable))
    init.chmod(0o755)
    console = boot(linux, init)
    found: list[dict[str, Any]] = [json.loads(line) for line in console.splitlines() if line.startswith("{")]
    print(console)
    assert found == [
        {"step_days": 3.0, "attempts": [1, 1, 1, 1]},
        {"step_days": -3.0, "attempts": [1, 1, 1, 1]},
        {"step_days": 3650.0, "attempts": [1, 1, 1, 1]},
        {"step_days": -3650.0, "attempts": [1, 1, 1, 1]},
        {"ways_in": [200, 200, 200], "kept": [16, 1]},
        {"ways_in": [401, 401, 401], "kept": [16, 1]},
        {"restarted": True, "kept": [16, 1]},
        {"ways_in": [200, 200, 200], "kept": [16, 1]},
        {"believed": True, "kept": [1, 0]},
        {"tracebacks": 0, "stalls": 0},
    ], console
