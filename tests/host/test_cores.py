from __future__ import annotations

import os
from pathlib import Path

import pytest

from echod.host.cores import cores

SET = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, SET),
        ({"a.slice/echod.service": "max 100000"}, SET),
        ({"a.slice/echod.service": "100000 100000"}, 1),
        ({"a.slice/echod.service": "50000 100000"}, 1),
        ({"a.slice": "100000 100000", "a.slice/echod.service": "max 100000"}, 1),
        ({"": "150000 100000"}, 1),
        ({"a.slice/echod.service": "6400000 100000"}, SET),
        ({"a.slice/echod.service": "nonsense"}, SET),
    ],
)
def test_cores(limits: dict[str, str], expected: int, tmp_path: Path) -> None:
    """No more than the CPU set, and no more than any control group above gives time of; one at least."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a.slice/echod.service\n")
    for group, limit in limits.items():
        directory = tmp_path / "sys/fs/cgroup" / group
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cpu.max").write_text(limit + "\n")
    assert cores(tmp_path) == expected


def test_without_control_groups(tmp_path: Path) -> None:
    assert cores(tmp_path) == SET
