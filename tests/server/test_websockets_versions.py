"""Every version of `websockets` that pyproject.toml lets in serves alike: `openai[realtime]` wants an older one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drivers.environments import target

HERE = Path(__file__).parent
FILES = (
    *("test_front.py", "test_connection.py", "test_websocket_shapes.py", "test_events.py", "test_budget.py"),
    *(
        "test_realtime.py",
        "test_realtime_limits.py",
        "test_realtime_ways_in.py",
        "test_realtime_tools.py",
        "../client/test_talk.py",
    ),
)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("version", ["15.0", "16.0", "17.0"])
def test_with(version: str, pytestconfig: pytest.Config) -> None:
    """The tests of front and conversations pass, among them that large events are taken in."""
    assert pytestconfig.cache is not None
    where = target(pytestconfig.cache, f"websockets=={version}.*" if version != "15.0" else "websockets==15.0.1")
    environ = os.environ | {"PYTHONPATH": str(where), "PYTEST_ADDOPTS": ""}
    python = [sys.executable, "-c", "import websockets; print(websockets.__version__)"]
    assert subprocess.run(python, env=environ, capture_output=True, text=True).stdout.startswith(version)
    files = [str(HERE / each) for each in FILES]
    tests = [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-p", "no:cacheprovider", *files]
    done = subprocess.run(tests, env=environ, capture_output=True, text=True, cwd=HERE.parent.parent)
    assert done.returncode == 0 and re.search(r"\d{3} passed", done.stdout), done.stdout[-4000:]
