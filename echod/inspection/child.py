"""One inspection child, as the daemon sees it: started, asked, ended.

It has a time and a memory limit per file and may die of one: then that file is refused, and the next child takes the
next. The child says an empty line when it is ready and one when it begins a file, so that a death is blamed on the
right file. A file is not to blame where somebody else kills the child; it is tried once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator

from echod.errors import EchodError
from echod.host.spawn import kill, start
from echod.inspection.messages import UNREADABLE, Finding, Kind, Request, encoder, reply_decoder

START_TIMEOUT = 120.0  # seconds: importing torch from a cold disk on a busy machine
BEGIN_TIMEOUT = 10.0  # seconds until an idle child takes up a file; one that hangs is replaced
SLICE = 1.0  # seconds: a machine that stands still for an hour takes one of these from a file's time, not all

# One thread: the cores belong to the workers, and each thread would eat address space. No GPU either.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class Child:
    """A process that decodes files of one kind, one at a time; the next one, when it has died."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Its process id, None while there is none."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self, memory: int) -> None:
        """Warm it before a file needs it. Raises EchodError: internal."""
        async with self._turn, self._killing():
            await self._warm(memory)

    async def close(self) -> None:
        """End it for good; a file under inspection is given up."""
        self._closed = True
        await self._kill()
        async with self._turn:  # whoever was spawning one has seen that it is over
            await self._kill()

    async def ask(self, request: Request, timeout: float, memory: int) -> Finding:
        """What it has found. `memory` is in bytes beyond what it takes idle, and holds for a process just started.

        Raises EchodError where it dies of the file or is killed twice; whoever is cancelled has ended it before.
        """
        async with self._turn, self._killing():
            for _ in range(2):
                process = await self._begin(request, memory)
                line = await self._line(process, timeout)
                if line:
                    return reply_decoder.decode(line)
                self._check_open()
                if line is None:
                    raise _took_too_long(request, timeout)
                if (code := await process.wait()) != -signal.SIGKILL:
                    raise _crashed(request, code)
        raise EchodError(
            "internal",
            "the process that decodes files was killed twice in the middle of this one, by somebody or by the system "
            "for want of memory; nothing is known against the file: send it again",
        )

    @contextlib.asynccontextmanager
    async def _killing(self) -> AsyncIterator[None]:
        """End the process unless all goes well: whoever is cancelled removes the directory it writes into next."""
        try:
            yield
        except BaseException:
            await self._kill()
            raise

    async def _begin(self, request: Request, memory: int) -> Process:
        """The process that has begun `request`; one that died or hung while idle is replaced first."""
        for _ in range(2):
            process = await self._warm(memory)
            assert process.stdin
            with contextlib.suppress(ConnectionError):
                process.stdin.write(encoder.encode(request) + b"\n")
                await process.stdin.drain()
            if await self._line(process, BEGIN_TIMEOUT):
                return process
            await self._kill()
        raise EchodError("internal", "the inspection child dies before it begins a file; see the log")

    async def _warm(self, memory: int) -> Process:
        self._check_open()
        if self._process is None or self._process.returncode is not None:
            await self._kill()
            # From the main thread only: the parent-death signal follows the thread.
            command = (sys.executable, "-P", "-m", "echod.inspection.proc", str(os.getpid()), str(memory), self.kind)
            self._process = await start(*command, environment=ENVIRONMENT)
            ready = not self._closed and await self._line(self._process, START_TIMEOUT)
            self._check_open()
            if not ready:
                raise EchodError("internal", "the inspection child does not start; see the log")
        return self._process

    async def _line(self, process: Process, timeout: float) -> bytes | None:
        """The next thing it says: empty when it has ended, None when it says nothing in time."""
        assert process.stdout
        line = asyncio.ensure_future(process.stdout.readline())
        try:
            while timeout > 0 and not line.done():
                await asyncio.wait([line], timeout=min(timeout, SLICE))
                timeout -= SLICE
            return line.result() if line.done() else None
        finally:
            line.cancel()

    async def _kill(self) -> None:
        if process := self._process:
            kill(process)
            assert process.stdin
            process.stdin.close()
            await process.wait()
            self._process = None

    def _check_open(self) -> None:
        if self._closed:
            raise EchodError("draining", "the daemon is stopping; send the file again later")


def _took_too_long(request: Request, timeout: float) -> EchodError:
    return EchodError(
        UNREADABLE[request.want],
        f"decoding the file took longer than {timeout:g} s (setting inspect_timeout); send a smaller or shorter one",
    )


def _crashed(request: Request, code: int) -> EchodError:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}, its last words are in the daemon's log"
    return EchodError(
        UNREADABLE[request.want],
        f"the decoder broke down over the file ({how}); it is probably damaged: open it in another program and export "
        "it again",
    )
