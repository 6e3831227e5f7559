"""Inspection, the daemon's side: what clients send is decoded by one child (`inspection_proc`) and nowhere else.

The child has a time and a memory limit per file and may die: then that file is refused, and those behind it are
inspected by the next child. Both speak JSON lines over the child's standard input and output. The child says an empty
line when it is ready and one when it begins a file, so that a death is blamed on the right file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from echod import jobs
from echod.children import kill, started
from echod.errors import EchodError

Want: TypeAlias = Literal["portrait", "speech", "any"]

START_TIMEOUT = 120.0  # seconds: importing torch from a cold disk on a busy machine
BEGIN_TIMEOUT = 10.0  # seconds until an idle child takes up a file; one that hangs is replaced
SLICE = 1.0  # seconds: a machine that stands still for an hour takes one of these from a file's time, not all
UNREADABLE = {"portrait": "portrait_unreadable", "speech": "speech_unreadable", "any": "unsupported_media"}
PREPARED = {"portrait": "portrait.png", "speech": "speech.flac"}

INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR")  # and no secrets
# One thread: the cores belong to the workers, and each thread would eat address space. No GPU either.
CHILD_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Inspect `path`; write what workers read into the directory `into`."""

    path: Path
    into: Path
    want: Want
    max_seconds: float
    max_pixels: int


class Inspected(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A file that workers can use: `prepared` is portrait.png or speech.flac; sha256 is that of the client's bytes."""

    kind: Literal["portrait", "speech"]
    prepared: Path
    portrait: jobs.Portrait | None = None
    speech: jobs.Speech | None = None


class Refused(msgspec.Struct, frozen=True, tag=True):
    """A file that cannot be used, and why."""

    code: str
    message: str


Reply: TypeAlias = Inspected | Refused

encoder = msgspec.json.Encoder(enc_hook=str)  # msgspec knows no Path
request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request, dec_hook=lambda cls, value: cls(value))
_reply_decoder: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply, dec_hook=lambda cls, value: cls(value))


class Inspector:
    """One child, one file at a time. `timeout` is seconds per file, `memory` bytes beyond what the idle child has.

    All four limits may be changed: `memory` holds from the next child on, the others from the next file on.
    """

    def __init__(self, *, timeout: float, memory: int, max_seconds: float, max_pixels: int) -> None:
        self.timeout = timeout
        self.memory = memory
        self.max_seconds = max_seconds
        self.max_pixels = max_pixels
        self._turn = asyncio.Lock()
        self._child: Process | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._child.pid if self._child and self._child.returncode is None else None

    async def start(self) -> None:
        """Warm the child before the first file needs it. Raises EchodError: internal."""
        async with self._turn, self._killing():
            await self._warm()

    async def close(self) -> None:
        """End the child; a file under inspection is given up."""
        self._closed = True
        await self._kill()
        async with self._turn:  # whoever was spawning one has seen that it is over
            await self._kill()

    async def inspect(self, path: Path, into: Path, want: Want) -> Inspected:
        """Decode `path` and write `into`/portrait.png or `into`/speech.flac, synced.

        Raises EchodError with the code that says what is wrong with the file; nothing is left in `into` then.
        """
        request = Request(path=path, into=into, want=want, max_seconds=self.max_seconds, max_pixels=self.max_pixels)
        try:
            async with self._turn, self._killing():
                reply = await self._ask(request)
            if isinstance(reply, Refused):
                raise EchodError(reply.code, reply.message)
        except BaseException:
            for name in PREPARED.values():
                (into / name).unlink(missing_ok=True)
            raise
        return reply

    @contextlib.asynccontextmanager
    async def _killing(self) -> AsyncIterator[None]:
        """End the child unless all goes well: whoever is cancelled removes the directory it writes into next."""
        try:
            yield
        except BaseException:
            await self._kill()
            raise

    async def _ask(self, request: Request) -> Reply:
        child = await self._begin(request)
        line = await self._line(child, self.timeout)
        if line:
            return _reply_decoder.decode(line)
        self._check_open()
        ended = "broke off" if line is not None else f"took longer than {self.timeout:g} s (setting inspect_timeout)"
        raise EchodError(
            UNREADABLE[request.want],
            f"decoding the file {ended}; it is probably damaged: open it in another program and export it again",
        )

    async def _begin(self, request: Request) -> Process:
        """The child that has begun `request`; one that died or hung while idle is replaced first."""
        for _ in range(2):
            child = await self._warm()
            assert child.stdin
            with contextlib.suppress(ConnectionError):
                child.stdin.write(encoder.encode(request) + b"\n")
                await child.stdin.drain()
            if await self._line(child, BEGIN_TIMEOUT):
                return child
            await self._kill()
        raise EchodError("internal", "the inspection child dies before it begins a file; see the log")

    async def _warm(self) -> Process:
        self._check_open()
        if self._child is None or self._child.returncode is not None:
            await self._kill()
            self._child = await self._spawn()
            ready = not self._closed and await self._line(self._child, START_TIMEOUT)
            self._check_open()
            if not ready:
                raise EchodError("internal", "the inspection child does not start; see the log")
        return self._child

    async def _spawn(self) -> Process:
        # From the main thread only: the parent-death signal follows the thread. In a session of its own, so that
        # Ctrl-C in the daemon's terminal is the daemon's alone.
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return await started(
            asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "echod.inspection_proc", str(os.getpid()), str(self.memory)),
                stdin=PIPE,
                stdout=PIPE,
                env=inherited | CHILD_ENVIRONMENT,
                start_new_session=True,
            )
        )

    async def _line(self, child: Process, timeout: float) -> bytes | None:
        """The child's next line: empty when it has ended, None when it says nothing in time."""
        assert child.stdout
        line = asyncio.ensure_future(child.stdout.readline())
        try:
            while timeout > 0 and not line.done():
                await asyncio.wait([line], timeout=min(timeout, SLICE))
                timeout -= SLICE
            return line.result() if line.done() else None
        finally:
            line.cancel()

    async def _kill(self) -> None:
        if child := self._child:
            kill(child)
            assert child.stdin
            child.stdin.close()
            await child.wait()
            self._child = None

    def _check_open(self) -> None:
        if self._closed:
            raise EchodError("draining", "the daemon is stopping; send the file again later")
