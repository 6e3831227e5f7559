"""A child that holds speech models of this box (`local_proc`), the daemon's side: start, questions, death."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, overload

from echod.host.cards import VISIBLE, visible_alone
from echod.host.cores import cores
from echod.host.spawn import kill
from echod.speech.backend import Call, Failure
from echod.speech.local.messages import (
    LENGTH,
    Done,
    Failed,
    Hear,
    Piece,
    Reply,
    Request,
    Said,
    Speak,
    Work,
    answer_decoder,
    framed,
)
from echod.speech.local.programs import start

LOAD_TIMEOUT = 300.0  # seconds: gigabytes from a cold disk

IDLE = 1800.0  # seconds after which nobody is expected to want the models back soon

THREADS = max(1, cores() // 2)  # the workers want cores too


class Models:
    """One child, started with the first request, and again after it died or had nothing to do for long.

    `threads` is how many a model may use; the only card it sees is `device`, if that is one.
    """

    def __init__(self, threads: int = THREADS, device: str = "cpu") -> None:
        visible = visible_alone(device)
        self._environment = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", VISIBLE: visible}
        self._starting = asyncio.Lock()
        self._child: Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Queue[Said]] = {}
        self._numbers = itertools.count(1)
        self._loaded: set[Path] = set()  # by the child there is
        self._closed = False
        self._resting: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._child.pid if self._child and self._child.returncode is None else None

    async def load(self, work: Work) -> None:
        """Start the child and load a model, unless that is done."""
        if self.pid and work.model in self._loaded:
            return
        try:
            async with asyncio.timeout(LOAD_TIMEOUT), contextlib.aclosing(self.ask(work, Call(model=""))) as nothing:
                async for _ in nothing:
                    pass
        except TimeoutError:
            raise Failure("timeout", f"{work.model} is not loaded after {LOAD_TIMEOUT:g} s") from None
        self._loaded.add(work.model)

    @overload
    def ask(self, work: Hear | Reply, call: Call) -> AsyncGenerator[str, None]: ...

    @overload
    def ask(self, work: Speak, call: Call) -> AsyncGenerator[bytes, None]: ...

    async def ask(self, work: Work, call: Call) -> AsyncGenerator[Any, None]:
        """The pieces of the answer, as they come. When this is closed early, the child drops the work."""
        child = await self._start()
        assert child.stdin
        number = next(self._numbers)
        answers = self._waiting[number] = asyncio.Queue()
        try:
            child.stdin.write(framed(Request(number, work)))
            with contextlib.suppress(ConnectionError):  # it died: `_listen` says so
                await child.stdin.drain()
            while not isinstance(said := await answers.get(), Done):
                if isinstance(said, Failed):
                    raise Failure(said.kind, said.message)
                yield said.text if isinstance(said, Piece) else said.pcm
            call.usage = said.usage
        finally:
            del self._waiting[number]
            self._rest_later()
            if not child.stdin.is_closing():
                child.stdin.write(framed(Request(number)))

    def _rest_later(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        if self._closed:
            return
        self._resting = asyncio.get_running_loop().call_later(IDLE, self._rest)

    def _rest(self) -> None:
        if not self._waiting:
            self._ending = asyncio.create_task(self._end())

    async def close(self) -> None:
        """End the child; what it was asked fails."""
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        await self._end()

    async def _end(self) -> None:
        async with self._starting:
            wanted = self._waiting and not self._closed  # by somebody who came meanwhile
            if not wanted and self._child and self._listening:
                kill(self._child)
                await self._listening

    async def _start(self) -> Process:
        async with self._starting:
            if self._closed:
                raise Failure("unavailable", "the daemon is stopping")
            if self._child is None or self._listening is None or self._listening.done():
                self._loaded.clear()
                # From the main thread only: the parent-death signal follows the thread.
                command = (sys.executable, "-P", "-m", "echod.speech.local.proc", str(os.getpid()))
                self._child = await start(*command, environment=self._environment)
                self._listening = asyncio.create_task(self._listen(self._child))
            return self._child

    async def _listen(self, child: Process) -> None:
        """Hand out what the child says, until it ends: then all it was asked has failed."""
        assert child.stdin and child.stdout
        try:
            while True:
                length = int.from_bytes(await child.stdout.readexactly(LENGTH), "big")
                answer = answer_decoder.decode(await child.stdout.readexactly(length))
                if queue := self._waiting.get(answer.number):  # else nobody waits for it any more
                    queue.put_nowait(answer.said)
        except asyncio.IncompleteReadError:
            child.stdin.close()
            status = await child.wait()
            for queue in self._waiting.values():
                queue.put_nowait(Failed("unavailable", f"the process that holds the models ended ({status})"))
