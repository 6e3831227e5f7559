from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, sys
from echod.parent import exit_at_once
atexit.register(print, "taken apart")
print("said"), print("logged", file=sys.stderr)
exit_at_once(3)
"""


def test_exit_at_once() -> None:
    """The exit code and every word arrive, though into pipes, which are buffered; nothing is taken apart."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "said\n", "logged\n")
