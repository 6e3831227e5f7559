"""Which tests are run again where programs are hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = "from tests.drivers.processes import register as pytest_configure"
SAMPLE = """
import os, subprocess, sys
import pytest

@pytest.fixture(scope="module")
def shared(): ...

@pytest.fixture(scope="module")
def started(): subprocess.run([sys.executable, "-c", ""])

def test_plain(tmp_path): ...
def test_before(shared): ...
def test_starts(shared): os.system("true")
def test_after(shared): ...
def test_first(started): ...
def test_second(started): ...
def test_last(tmp_path): ...
"""


def run(directory: Path, **environ: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only" if "ECHOD_LEAVE_OUT" in environ else "-q"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ECHOD_", "PYTEST_"))}
    paths = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [*command, "tests_sample.py"], cwd=directory, env=kept | paths | environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_runs_again(tmp_path: Path) -> None:
    """Whatever starts a process, or shares a fixture with what has, runs again; so does what is new."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "tests_sample.py").write_text(SAMPLE)
    run(tmp_path, ECHOD_NOTE_TESTS=str(tmp_path / "notes"))
    [noted] = [file.read_text().split() for file in (tmp_path / "notes").iterdir()]
    assert noted == [f"tests_sample.py::test_{name}" for name in ("plain", "before", "last")]
    (tmp_path / "tests_sample.py").write_text(SAMPLE + "def test_new(): ...\n")
    left = run(tmp_path, ECHOD_LEAVE_OUT=str(tmp_path / "notes")).split()
    names = [name.partition("::test_")[2] for name in left if "::" in name]
    assert names == ["starts", "after", "first", "second", "new"]
