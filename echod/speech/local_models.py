"""The child that holds this box's speech models (`local_proc`), the daemon's side: messages, start, death.

Both speak msgpack, each message behind its length, over the child's standard input and output. A request has a number;
every answer to it carries that number. Several requests may be under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TypeAlias

import msgspec

from echod.children import kill
from echod.speech.base import Call, Failure, Kind, Message
from echod.speech.local_programs import start

LENGTH = 4  # bytes, big-endian
LOAD_TIMEOUT = 300.0  # seconds: gigabytes from a cold disk

THREADS = max(1, (os.cpu_count() or 1) // 2)  # the workers want cores too
ENVIRONMENT = {"OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"}


class Hear(msgspec.Struct, frozen=True, tag=True):
    """pcm16, mono, HEAR_RATE, for the Whisper checkpoint at `model`. Without sound the model is only loaded."""

    model: Path
    sound: bytes | None = None
    language: str | None = None


class Reply(msgspec.Struct, frozen=True, tag=True):
    """A conversation for the chat model in the directory `model`. Without messages the model is only loaded."""

    model: Path
    personality: str = ""
    messages: list[Message] | None = None


Work: TypeAlias = Hear | Reply


class Request(msgspec.Struct, frozen=True):
    """Work under a number; without work, what has that number is not wanted any more."""

    number: int
    work: Work | None = None


class Piece(msgspec.Struct, frozen=True, tag=True):
    """More of what was heard, or of the reply."""

    text: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """The work ended well. `usage` has names of USAGE."""

    usage: dict[str, float] = {}


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The work ended in a Failure."""

    kind: Kind
    message: str


Said: TypeAlias = Piece | Done | Failed


class Answer(msgspec.Struct, frozen=True):
    """What the child says about a request."""

    number: int
    said: Said


_encoder = msgspec.msgpack.Encoder(enc_hook=str)  # msgspec knows no Path
request_decoder = msgspec.msgpack.Decoder(Request, dec_hook=lambda cls, value: cls(value))
_answer_decoder = msgspec.msgpack.Decoder(Answer)


def framed(message: Request | Answer) -> bytes:
    """A message as it goes through a pipe."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH, "big") + body


class Models:
    """One child, started with the first request and again after it died."""

    def __init__(self) -> None:
        self._starting = asyncio.Lock()
        self._child: Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Queue[Said]] = {}
        self._numbers = itertools.count(1)
        self._loaded: set[Path] = set()  # by the child there is
        self._closed = False

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

    async def ask(self, work: Work, call: Call) -> AsyncGenerator[str, None]:
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
                yield said.text
            call.usage = said.usage
        finally:
            del self._waiting[number]
            if not child.stdin.is_closing():
                child.stdin.write(framed(Request(number)))

    async def close(self) -> None:
        """End the child; what it was asked fails."""
        self._closed = True
        async with self._starting:
            if self._child and self._listening:
                kill(self._child)
                await self._listening

    async def _start(self) -> Process:
        async with self._starting:
            if self._closed:
                raise Failure("unavailable", "the daemon is stopping")
            if self._child is None or self._listening is None or self._listening.done():
                self._loaded.clear()
                # From the main thread only: the parent-death signal follows the thread.
                command = (sys.executable, "-P", "-m", "echod.speech.local_proc", str(os.getpid()))
                self._child = await start(*command, environment=ENVIRONMENT)
                self._listening = asyncio.create_task(self._listen(self._child))
            return self._child

    async def _listen(self, child: Process) -> None:
        """Hand out what the child says, until it ends: then all it was asked has failed."""
        assert child.stdin and child.stdout
        try:
            while True:
                length = int.from_bytes(await child.stdout.readexactly(LENGTH), "big")
                answer = _answer_decoder.decode(await child.stdout.readexactly(length))
                if queue := self._waiting.get(answer.number):  # else nobody waits for it any more
                    queue.put_nowait(answer.said)
        except asyncio.IncompleteReadError:
            child.stdin.close()
            status = await child.wait()
            for queue in self._waiting.values():
                queue.put_nowait(Failed("unavailable", f"the process that holds the models ended ({status})"))
