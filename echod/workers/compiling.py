"""When and where a worker compiles kernels for its card, and what happens if that fails.

They are kept under the state directory. The first of a daemon's workers compiles alone and the others then take what
it kept, all at once. Compiling takes minutes in which nothing else can report, so that a thread does, for as long as it
may take. It may fail in any way, from a missing C compiler to the death of the process: then a worker goes without.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

from echod import __version__
from echod.host.cards import is_cuda
from echod.host.directories import create_private
from echod.workers.failures import SAID, is_sticky, let_go

if TYPE_CHECKING:
    from echod.workers.spec import Spec

log = logging.getLogger("echod.gpu_proc")

TICK = 1.0  # seconds between two signs of life
LONGEST = 900.0  # seconds that a worker may compile, or wait for another that does, before it counts as stalled

Tick = Callable[[str], None]  # what is being done


class DiedCompilingError(Exception):
    """The process before this one died while it compiled."""


class Compiling:
    """Handed to engines, which hand it what compiles. `told` says what came of it, None where nothing was compiled.

    Make it before torch is imported, which reads then where to keep kernels.
    """

    def __init__(self, spec: Spec, tick: Tick) -> None:
        self.told: str | None = None
        self._tick = tick
        self._directory = directory = Path(spec.kernels)
        self._daemon = str(spec.parent)
        self._note = directory / f"worker.{spec.index}"  # there while it compiles, and after it died of that
        self._first = directory / "first"  # the daemon whose first worker has compiled
        self._lock = directory / "lock"
        self._made_by = directory / "made-by"  # the versions whose kernels these are
        self._kept = directory / "inductor", directory / "triton"
        os.environ["TORCHINDUCTOR_CACHE_DIR"], os.environ["TRITON_CACHE_DIR"] = map(str, self._kept)
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(spec.threads)
        # Kernels that are chosen by timing them would be others in the next process, and so would the last bits.
        os.environ["TORCHINDUCTOR_DETERMINISTIC"] = "1"

    @classmethod
    def of(cls, spec: Spec, tick: Tick) -> Self | None:
        """A worker's, unless it has no card or is to compile nothing."""
        return cls(spec, tick) if spec.kernels and is_cuda(spec.device) else None

    def __call__(self, work: Callable[[], None]) -> bool:
        began = time.monotonic()
        try:
            create_private(self._directory)
            with self._in_turn(), self._noted():
                log.info("compiling kernels for the card, once; this takes minutes")
                with self._ticking("compiling"):
                    work()
                self._first.write_text(self._daemon)
        except Exception as error:
            if is_sticky(error):  # nothing would work after it, the note stays, and the next process goes without
                raise
            reason = textwrap.shorten(f"{type(error).__name__}: {error}", SAID, placeholder=" ...")
            self.told = f"not compiled, clips take longer: {reason}"
            log.warning("kernels are %s", self.told, exc_info=error)
            let_go(error)
            return False
        self.told = f"compiled in {time.monotonic() - began:.0f} s"
        log.info("kernels are %s", self.told)
        return True

    @contextmanager
    def _noted(self) -> Iterator[None]:
        if _says(self._note, self._daemon):
            raise DiedCompilingError("the worker's process before this one died while it compiled; restart the daemon "
                                     "to have it tried again")  # fmt: skip
        self._note.write_text(self._daemon)
        try:
            yield
        except Exception as error:
            if not is_sticky(error):
                self._note.unlink(missing_ok=True)
            raise
        self._note.unlink(missing_ok=True)

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Alone until a first worker of this daemon has compiled."""
        with self._lock.open("w") as lock:
            if not _says(self._first, self._daemon):
                with self._ticking("waiting for another worker to compile"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if _says(self._first, self._daemon):
                    fcntl.flock(lock, fcntl.LOCK_UN)
                else:
                    self._drop_others()
            yield

    def _drop_others(self) -> None:
        """Kernels of other versions, which are never taken again and pile up."""
        made_by = f"echod {__version__}, torch {version('torch')}"
        if not _says(self._made_by, made_by):
            for each in self._kept:
                shutil.rmtree(each, ignore_errors=True)
            self._made_by.write_text(made_by)

    @contextmanager
    def _ticking(self, doing: str) -> Iterator[None]:
        """Reports are sent by a thread meanwhile, and by no other."""
        over, began = threading.Event(), time.monotonic()

        def tick() -> None:
            while (passed := time.monotonic() - began) < LONGEST:
                self._tick(f"{doing}, for {passed:.0f} s")
                if over.wait(TICK):
                    return

        thread = threading.Thread(target=tick, name="echod compiling", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _says(file: Path, text: str) -> bool:
    return file.exists() and file.read_text() == text
