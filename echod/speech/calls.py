"""Calls to speech backends, kept in bounds.

Every call has a deadline, and a watch that ends an attempt which is silent for too long; failures that may pass are
tried again, at most twice and never once somebody has had some of it; only so many calls run at once, those that
somebody listens for first. However a call ends, its usage is recorded. Callers see `SpeechError` and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Literal, TypeVar

import msgspec

from echod.config import Settings
from echod.sound.pcm import HEAR_RATE, SPEAK_RATE
from echod.speech.attempts import Attempts
from echod.speech.backend import Backend, Call, Failure, Function, Question, Voice
from echod.speech.errors import SpeechError, code_of, lacking
from echod.speech.script import Script
from echod.speech.slots import Slots
from echod.speech.thoughts import Thoughts
from echod.speech.tools import CallPiece
from echod.speech.usage import Usage

__all__ = ["Calls", "SpeechError"]

log = logging.getLogger("echod.speech")

T = TypeVar("T")


class Calls:
    """What the daemon hears, replies and speaks with. `record` gets the usage of every call when it has ended."""

    def __init__(
        self,
        settings: Settings,
        backends: Mapping[str, Backend],
        chosen: Mapping[Function, str],
        record: Callable[[Usage], object] = lambda usage: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.backends = backends
        self.chosen = chosen
        self.record = record
        self.clock = clock
        functions: tuple[Function, ...] = ("hear", "reply", "speak")
        self._slots = {function: Slots(settings.now.speech_calls) for function in functions}

    async def prepare(self, *functions: Literal["hear", "reply"]) -> None:
        """Load what these need, before anybody waits for it. What is lacking is told when it is needed."""
        for function in functions:
            with suppress(SpeechError, Failure):
                await self.backend(function).ready(function, self.model(function))

    async def hear(self, sound: bytes, *, account: str, language: str | None = None) -> str:
        """The words in `sound`: pcm16, mono, HEAR_RATE."""
        backend = self.backend("hear")

        async def attempt(call: Call) -> AsyncGenerator[str, None]:
            yield await backend.hear(sound, call)

        run = self._run("hear", backend, self.model("hear"), account, attempt, language)
        run.seconds = len(sound) / 2 / HEAR_RATE
        async with aclosing(run.pieces()) as pieces:
            heard = "".join([piece async for piece in pieces]).strip()
        self._tell("heard", heard)
        return heard

    async def reply(
        self, turn: Question, *, account: str, language: str | None = None
    ) -> AsyncGenerator[str | CallPiece, None]:
        """The words of a reply and its calls of tools, as they come.

        Where it may not go on to its end, SpeechError "length" comes last.
        """
        backend, said = self.backend("reply"), ""
        limit = self.settings.now.reply_tokens
        turn = msgspec.structs.replace(turn, max_tokens=min(turn.max_tokens or limit, limit))

        async def attempt(call: Call) -> AsyncGenerator[str | CallPiece, None]:
            nonlocal said
            thoughts, called = Thoughts(), False
            async with aclosing(backend.reply(turn, call)) as pieces:
                async for piece in pieces:
                    call.alive()
                    if isinstance(piece, CallPiece):
                        called = True
                        yield piece
                    elif words := thoughts.feed(piece):
                        said += words
                        yield words
            if words := thoughts.finish():
                said += words
                yield words
            if not (said.strip() or called):
                raise Failure("protocol", "it is empty")

        run = self._run("reply", backend, self.model("reply"), account, attempt, language)
        async with aclosing(run.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        self._tell("replied", said)

    async def speak(
        self,
        text: str | AsyncIterator[str],
        voice: Voice,
        *,
        account: str,
        language: str | None = None,
        batch: bool = False,
        begin_again: Callable[[], None] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """The sound of `text`, as it comes: pcm16, mono, SPEAK_RATE. A `batch` call waits for all that are not.

        `begin_again` is for sound that nobody hears as it comes: it is called where what came is nothing, because the
        voice broke off, and all of it comes once more.
        """
        backend = self._speaker(voice)
        script = Script(_once(text) if isinstance(text, str) else text)
        run = self._run(
            "speak", backend, voice.model, account,
            lambda call: backend.speak(script.read(), voice, call), language,
        )  # fmt: skip
        run.voice, run.script, run.batch, script.watch = voice, script, batch, run
        run.begin_again = begin_again
        async with aclosing(script), aclosing(run.pieces()) as pieces:
            async for piece in pieces:
                run.seconds += len(piece) / 2 / SPEAK_RATE
                yield piece
        self._tell("spoke", "".join(script.pieces))

    def backend(self, function: Function) -> Backend:
        """The backend chosen for a function."""
        return self.backends[self.chosen[function]]

    def _speaker(self, voice: Voice) -> Backend:
        if (backend := self.backends.get(voice.backend)) is None:
            raise SpeechError("upstream_tts", f"speak with {voice} failed: {lacking(voice.backend)}", "missing")
        return backend

    @property
    def calls_tools(self) -> bool:
        """Whether who replies knows what to do with tools."""
        try:
            return self.backend("reply").calls_tools(self.model("reply"))
        except SpeechError:  # told when something is to be replied
            return False

    def model(self, function: Literal["hear", "reply"]) -> str:
        """The model in use for hearing or replying."""
        named = self.settings.now.hear_model if function == "hear" else self.settings.now.reply_model
        try:
            return named or self.backend(function).default_model(function)
        except Failure as failure:
            code = code_of(failure.kind, function)
            raise SpeechError(code, f"{function} failed: {failure.message}", failure.kind) from None

    def _run(
        self,
        function: Function,
        backend: Backend,
        model: str,
        account: str,
        attempt: Callable[[Call], AsyncGenerator[T, None]],
        language: str | None,
    ) -> Attempts[T]:
        return Attempts(
            self.settings.now, self.record, function, backend, model, account, attempt, language, self._slots[function],
            clock=self.clock,
        )  # fmt: skip

    def _tell(self, what: str, text: str) -> None:
        if self.settings.now.log_content:
            log.info("%s: %s", what, text)


async def _once(text: str) -> AsyncGenerator[str, None]:
    yield text
