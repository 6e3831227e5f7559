"""What starts and ends one incarnation of a worker: at home its process, on a cluster what speaks for it there."""

from __future__ import annotations

import contextlib
import multiprocessing.context
import os
import signal
from collections.abc import Callable
from typing import Protocol, TypeAlias

from echod.workers.spec import Spec
from echod.workers.state import Ending

Main: TypeAlias = Callable[[Spec], None]  # runs in the child, found there by its import path


class Hand(Protocol):
    """One incarnation, from its start to its burial."""

    @property
    def fd(self) -> int:
        """Readable once it is dead."""

    @property
    def pid(self) -> int | None:
        """Of its process, None where that is another machine's."""

    def kill(self, number: int) -> None:
        """Send it a signal, if it lives."""

    def bury(self) -> Ending:
        """Leave nothing of a dead one."""

    def abandon(self) -> None:
        """Let go of one that cannot be killed."""


Start: TypeAlias = Callable[[Spec, str], Hand]  # and what it is called; raises OSError if it cannot be started


class Near:
    """A child of this process. Main thread only: it dies with the thread that starts it."""

    def __init__(self, main: Main, spawner: multiprocessing.context.SpawnContext, spec: Spec, name: str) -> None:
        self._process = spawner.Process(target=main, args=(spec,), name=f"echod {name}", daemon=True)
        with contextlib.ExitStack() as undo:
            self._process.start()
            undo.callback(self._process.kill)
            assert self._process.pid is not None
            self.pid: int | None = self._process.pid
            self.fd = os.pidfd_open(self._process.pid)
            undo.pop_all()

    def kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.fd, number)

    def bury(self) -> Ending:
        os.close(self.fd)
        self._process.join()
        code = self._process.exitcode or 0
        self._process.close()
        return how_it_ended(code)

    def abandon(self) -> None:
        os.close(self.fd)


def how_it_ended(code: int) -> Ending:
    """By a process's exit code as Python has it."""
    if code < 0:
        return Ending("killed", f"killed by {signal.Signals(-code).name}")
    return Ending("exited", f"exited with {code}")
