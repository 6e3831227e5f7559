"""A speech backend that does what a test has written down: one attempt after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Literal, TypeAlias

from echod.speech.backend import Backend, Call, Failure, Function, Question, Voice
from echod.speech.tools import CallPiece

Given: TypeAlias = str | bytes | CallPiece
Attempt: TypeAlias = Callable[[Call, AsyncIterator[str]], AsyncGenerator[Any, None]]  # of what is Given

VOICE = Voice("scripted", "model-s", "anna")


class Scripted(Backend):
    """`attempts` are used up in order by hear, reply and speak alike; `lost` says what is missing."""

    name = "scripted"
    hears_turns = True
    handy = True  # it knows what to do with tools

    def __init__(self, *attempts: Attempt) -> None:
        self.attempts = list(attempts)
        self.calls: list[Call] = []
        self.turns: list[Question] = []
        self.prepared: list[str] = []
        self.running = self.most = 0
        self.begun = asyncio.Event()
        self.missing: str | None = None
        self.commands = ["apt install espeak-ng"]

    async def lacks(self, function: Function, name: str) -> Failure | None:
        return Failure("missing", self.missing, commands=self.commands) if self.missing else None

    async def languages(self) -> list[str] | None:
        return ["en"]

    async def load(self, voice: Voice) -> None:
        self.prepared.append(voice.name)

    async def ready(self, function: Function, model: str) -> None:
        self.prepared.append(function)
        if self.missing:
            raise Failure("missing", self.missing)

    async def hear(self, sound: bytes, call: Call) -> str:
        return "".join([str(piece) async for piece in self._attempt(call, _nothing())])

    def calls_tools(self, model: str) -> bool:
        return self.handy

    async def reply(self, turn: Question, call: Call) -> AsyncGenerator[str | CallPiece, None]:
        self.turns.append(turn)
        async for piece in self._attempt(call, _once(turn.text or "")):
            assert not isinstance(piece, bytes)
            yield piece

    async def speak(self, text: AsyncIterator[str], voice: Voice, call: Call) -> AsyncGenerator[bytes, None]:
        async for piece in self._attempt(call, text):
            assert isinstance(piece, bytes)
            yield piece

    async def _attempt(self, call: Call, text: AsyncIterator[str]) -> AsyncGenerator[Given, None]:
        self.calls.append(call)
        attempt = self.attempts.pop(0)
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.set()
        try:
            async for piece in attempt(call, text):
                yield piece
        finally:
            self.running -= 1

    def default_model(self, function: Literal["hear", "reply"]) -> str:
        return f"model-{function[0]}"

    async def default_voice(self, language: str | None) -> Voice:
        if self.missing:
            raise Failure("missing", self.missing)
        return VOICE

    async def voices(self) -> list[Voice]:
        return [VOICE]

    async def close(self) -> None:
        pass


class Willing(Scripted):
    """A backend that always has something to say."""

    async def hear(self, sound: bytes, call: Call) -> str:
        return "words"

    async def reply(self, turn: Question, call: Call) -> AsyncGenerator[str | CallPiece, None]:
        yield "Fine. "

    async def speak(self, text: AsyncIterator[str], voice: Voice, call: Call) -> AsyncGenerator[bytes, None]:
        async for _ in text:
            yield bytes(4800)


async def _once(text: str) -> AsyncGenerator[str, None]:
    yield text


async def _nothing() -> AsyncGenerator[str, None]:
    return
    yield


def gives(*pieces: Given) -> Attempt:
    """An attempt that reads the text to its end, then gives these."""

    async def attempt(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[Given, None]:
        async for _ in text:
            pass
        for piece in pieces:
            yield piece

    return attempt


def fails(failure: Exception, *before: Given) -> Attempt:
    """An attempt that raises, after these pieces."""

    async def attempt(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[Given, None]:
        for piece in before:
            yield piece
        raise failure

    return attempt


def echoes(*, fail_after: int | None = None, failure: Exception | None = None) -> Attempt:
    """An attempt that gives every piece of text back as bytes, or raises after reading so many."""

    async def attempt(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        read = []
        async for piece in text:
            read.append(piece)
            if fail_after is not None and len(read) >= fail_after:
                assert failure is not None
                raise failure
        for piece in read:
            yield piece.encode()

    return attempt


async def silent(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
    await asyncio.Event().wait()
    yield b""
