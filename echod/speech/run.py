"""One call to a speech backend, from its first attempt to its last: deadline, watch, retries, usage record."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from echod.config import Config
from echod.errors import EchodError
from echod.redaction import redact
from echod.speech.base import PASSING, USAGE, Backend, Call, Failure, Function, Kind, Voice
from echod.usage import Usage

log = logging.getLogger("echod.speech")

RETRIES = 2
BACKOFF, MAX_BACKOFF = 0.3, 3.0  # seconds before the first retry and at most, of which a random share is waited
SECONDS_PER_CHARACTER = 0.5  # what speaking may take beyond speak_timeout; the slowest voices need half of it
MAX_MESSAGE = 300  # characters

CODES: Mapping[Function, str] = {"hear": "upstream_asr", "reply": "upstream_reply", "speak": "upstream_tts"}
MODEL_SETTINGS: Mapping[Function, str] = {"hear": "hear_model", "reply": "reply_model", "speak": "voice"}
KEYS = {
    "dashscope": "DASHSCOPE_API_KEY, dashscope_key_file or the credential dashscope-api-key; "
    "a key is good in one region, that of dashscope_url",
    "openai": "OPENAI_API_KEY, openai_key_file or the credential openai-api-key",
}

T = TypeVar("T")
END = object()


class SpeechError(EchodError):
    """A call failed for good; `kind` says how."""

    def __init__(self, code: str, message: str, kind: Kind) -> None:
        super().__init__(code, message)
        self.kind = kind


class Script:
    """Text on its way to a voice, kept so that another attempt can read it from its beginning."""

    def __init__(self, source: AsyncIterator[str]) -> None:
        self.pieces: list[str] = []
        self.failure: Exception | None = None  # the source's own
        self.run: Run[bytes]
        self._source = source
        self._coming: asyncio.Task[str | None] | None = None

    async def read(self) -> AsyncGenerator[str, None]:
        for piece in list(self.pieces):
            yield piece
        while (more := await self._next()) is not None:
            yield more

    async def _next(self) -> str | None:
        # A task of its own: an attempt that ends while it waits here must not end the source for the next one.
        self._coming = self._coming or asyncio.create_task(self._take())
        self.run.pause()
        try:
            piece = await asyncio.shield(self._coming)
        except Exception as error:
            self.failure = error
            raise
        self._coming = None
        if piece is not None:
            self.pieces.append(piece)
        self.run.resume(SECONDS_PER_CHARACTER * len(piece or ""))
        return piece

    async def _take(self) -> str | None:
        return await anext(self._source, None)

    async def aclose(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait([self._coming])


@dataclass
class Run(Generic[T]):
    """One call from its first attempt to its last."""

    config: Config
    record: Callable[[Usage], object]
    function: Function
    backend: Backend
    model: str
    account: str
    attempt: Callable[[Call], AsyncGenerator[T, None]]
    language: str | None
    slots: asyncio.Semaphore
    voice: Voice | None = None
    script: Script | None = None
    clock: Callable[[], float] = time.time
    seconds: float = 0.0
    attempts: int = 0
    _call: Call = field(init=False)
    _deadline: float = field(init=False)
    _first_ms: int | None = None
    _watch: asyncio.Timeout | None = None
    _paused_at: float | None = None

    async def pieces(self) -> AsyncGenerator[T, None]:
        """What the backend gives, from the attempt that succeeds. Raises SpeechError."""
        at, began, outcome = self.clock(), _now(), "cancelled"
        self._call = Call(model=self.model, language=self.language)
        try:
            async with aclosing(self._bounded()) as pieces:
                async for piece in pieces:
                    if self._first_ms is None:
                        self._first_ms = round(1000 * (_now() - began))
                    yield piece
            outcome = "ok"
        except Failure as failure:
            outcome = failure.kind
            raise self._error(failure) from None
        finally:
            self._record(at, outcome, round(1000 * (_now() - began)))

    async def _bounded(self) -> AsyncGenerator[T, None]:
        await self.backend.ready(self.function, self.model)  # may load for minutes, and says so itself if in vain
        config = self.config
        timeouts = {"hear": config.hear_timeout, "reply": config.reply_timeout, "speak": config.speak_timeout}
        self._deadline = _now() + timeouts[self.function]
        try:
            async with asyncio.timeout_at(self._deadline):
                await self.slots.acquire()
        except TimeoutError:
            busy = f"all of speech_calls = {config.speech_calls} calls were in progress for {self.function}_timeout"
            raise Failure("timeout", busy) from None
        try:
            async with aclosing(self._attempts()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.slots.release()

    async def _attempts(self) -> AsyncGenerator[T, None]:
        while True:
            self.attempts += 1
            self._call = Call(model=self.model, language=self.language)
            try:
                async with aclosing(self.attempt(self._call)) as pieces:
                    while (piece := await self._next(pieces)) is not END:
                        yield piece  # type: ignore[misc]  # END is left out
                return
            except Failure as failure:
                pause = self._pause_before_retry(failure)
                if pause is None:
                    raise
                log.info("%s failed, again in %.1f s: %s", self.function, pause, redact(failure.message))
            await asyncio.sleep(pause)

    async def _next(self, pieces: AsyncGenerator[T, None]) -> T | object:
        try:
            async with asyncio.timeout(None) as self._watch:
                self._rearm()
                return await anext(pieces, END)
        except TimeoutError:
            raise Failure("timeout", self._overdue()) from None
        except (Failure, asyncio.CancelledError):
            raise
        except Exception as error:  # a backend's mistake must not be a caller's
            if self.script is not None and self.script.failure is not None:
                raise self.script.failure from None
            log.exception("backend %s raised what it should not", self.backend.name)
            raise Failure("protocol", f"an unexpected {type(error).__name__}") from None
        finally:
            self._watch = None

    # The watch: while a voice waits for more text, its clock stands still.

    def pause(self) -> None:
        self._paused_at = _now()
        self._rearm()

    def resume(self, allowance: float) -> None:
        assert self._paused_at is not None
        self._deadline += _now() - self._paused_at + allowance
        self._paused_at = None
        self._rearm()

    def _rearm(self) -> None:
        if self._watch is not None and not self._watch.expired():
            silence = _now() + self.config.silence_timeout
            due = self._deadline if self.function == "hear" else min(silence, self._deadline)
            self._watch.reschedule(None if self._paused_at is not None else due)

    def _overdue(self) -> str:
        config = self.config
        if self.function == "hear" or _now() >= self._deadline:
            setting = f"{self.function}_timeout"
        else:
            setting = "silence_timeout"
        return f"nothing more came within {setting} = {getattr(config, setting):g} s"

    def _pause_before_retry(self, failure: Failure) -> float | None:
        """Seconds to wait before the next attempt; None if there must be none."""
        if self._first_ms is not None or failure.kind not in PASSING or self.attempts > RETRIES:
            return None
        pause = random.random() * min(MAX_BACKOFF, BACKOFF * 2 ** (self.attempts - 1)) + (failure.retry_after or 0.0)
        return pause if _now() + pause < self._deadline else None

    def _error(self, failure: Failure) -> SpeechError:
        code = "upstream_model_retired" if failure.kind == "retired" else CODES[self.function]
        what = redact(failure.message)[:MAX_MESSAGE].rstrip(" .")
        name = self.voice or f"{self.backend.name}/{self.model}"
        advice = advise(failure.kind, self.function, self.backend.name)
        return SpeechError(code, f"{self.function} with {name} failed: {what}{advice and '; '}{advice}", failure.kind)

    def _record(self, at: float, outcome: str, total_ms: int) -> None:
        counted = {name: self._call.usage.get(name, 0) for name in USAGE}
        if self.script is not None:
            counted["characters"] = counted["characters"] or sum(map(len, self.script.pieces))
        usage = Usage(
            at=at,
            account=self.account,
            function=self.function,
            backend=self.backend.name,
            model=self.model,
            voice=self.voice.name if self.voice else None,
            outcome=outcome,
            attempts=self.attempts,
            first_ms=self._first_ms,
            total_ms=total_ms,
            request_id=self._call.request_id,
            input_tokens=int(counted["input_tokens"]),
            output_tokens=int(counted["output_tokens"]),
            characters=int(counted["characters"]),
            seconds=round(self.seconds or counted["seconds"], 3),
        )
        log.info(
            "%s by %s/%s: %s in %d ms, %d attempts",
            *(self.function, self.backend.name, self.model, outcome, total_ms, self.attempts),
            extra={"account": self.account},
        )
        self.record(usage)


def advise(kind: Kind, function: Function, backend: str) -> str:
    """The next step after a failure."""
    match kind:
        case "auth" | "forbidden":
            return f"look at the key: {KEYS.get(backend, 'there is none here')}"
        case "retired":
            return f"set {MODEL_SETTINGS[function]} to a model the server has"
        case "voice":
            return "`echod voices` lists voices; name another, or set voice"
        case "throttled":
            return "lower speech_calls, or try again later"
        case "quota":
            return "look at the account's balance with the provider"
        case "moderated":
            return "say it in other words"
        case "timeout" | "connection" | "unavailable":
            return "try again later; `echod doctor` calls every backend once"
        case "invalid" | "protocol":
            return f"see {MODEL_SETTINGS[function]} and the backend's URL; `echod doctor` calls every backend once"
        case "missing":
            return ""


def _now() -> float:
    return asyncio.get_running_loop().time()
