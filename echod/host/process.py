"""How processes end: a child never outlives its parent, and nobody tidies up what the kernel takes anyway."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO, NoReturn

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; leave at once if it already has.

    Call before importing anything slow. The signal follows the parent's *thread*: spawn only from the main thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died between fork and prctl
        os._exit(0)


def resident(pid: int) -> int | None:
    """Bytes of memory that a process holds; None if it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return None


def take_pipes(buffering: int = -1) -> tuple[BinaryIO, BinaryIO]:
    """The pipes from and to the daemon, moved away from 0 and 1 so that no library can write into the protocol."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering)
    os.dup2(2, 1)
    return requests, answers


def exit_at_once(code: int) -> NoReturn:
    """Leave with everything said and nothing taken apart: a second of work, once torch is loaded.

    Only for a process that has closed what it opened. Neither atexit nor `finally` further up runs.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it may have left first
            stream.flush()
    os._exit(code)
