from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import atexit, sys
from echod.host.process import exit_at_once
atexit.register(print, "taken apart", file=sys.stderr)
print("said"), print("logged", file=sys.stderr)
exit_at_once(3)
"""
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_exit_at_once() -> None:
    """The exit code and every word arrive, and nothing is taken apart."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=BUFFERED, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "said\n", "logged\n")


def test_exit_at_once_with_nobody_left_to_read() -> None:
    """A reader that went away first changes nothing."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=gone, stderr=subprocess.PIPE, text=True, env=BUFFERED, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (3, "logged\n")
