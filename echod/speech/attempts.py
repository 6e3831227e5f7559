"""One call to a speech backend, from its first attempt to its last: deadline, watch, retries, usage record."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from echod.config import Config
from echod.host.redaction import redact
from echod.speech.backend import PASSING, USAGE, Backend, Call, Failure, Function, Voice
from echod.speech.errors import SpeechError, advise, code_of
from echod.speech.script import Script
from echod.speech.slots import Slots
from echod.speech.usage import Usage

log = logging.getLogger("echod.speech")

RETRIES = 2
BACKOFF, MAX_BACKOFF = 0.3, 3.0  # seconds before the first retry and at most, of which a random share is waited
MAX_MESSAGE = 300  # characters

T = TypeVar("T")
END = object()


@dataclass
class Attempts(Generic[T]):
    """One call from its first attempt to its last. A `batch` one waits for its turn as long as that takes."""

    config: Config
    record: Callable[[Usage], object]
    function: Function
    backend: Backend
    model: str
    account: str
    attempt: Callable[[Call], AsyncGenerator[T, None]]
    language: str | None
    slots: Slots
    voice: Voice | None = None
    script: Script | None = None
    batch: bool = False
    begin_again: Callable[[], None] | None = None  # None where what came has been heard
    clock: Callable[[], float] = time.time
    seconds: float = 0.0
    attempts: int = 0
    _call: Call = field(init=False)
    _began: float = field(init=False)
    _deadline: float = field(init=False)
    _patience: float = field(init=False)  # seconds that may still pass without a sign of life
    _sign_due: float = math.inf  # when this attempt has used them up
    _begun_part: int | None = None  # the last of which something was given
    _retries: Counter[int] = field(default_factory=Counter)  # by part
    _first_ms: int | None = None
    _watch: asyncio.Timeout | None = None
    _paused_at: float | None = None

    async def pieces(self) -> AsyncGenerator[T, None]:
        """What the backend gives, from the attempt that succeeds. Raises SpeechError."""
        at, self._began, outcome = self.clock(), _now(), "cancelled"
        self._call = Call(model=self.model, language=self.language)
        try:
            async with aclosing(self._bounded()) as pieces:
                async for piece in pieces:
                    if self._first_ms is None:
                        self._first_ms = self._elapsed()
                    yield piece
            outcome = "ok"
        except Failure as failure:
            outcome = failure.kind
            raise self._error(failure) from None
        except Exception:
            outcome = "text"
            raise
        finally:
            self.begin_again = (
                None  # it holds a file, whose threads would go on until the cycle of script and watch is found
            )
            self._record(at, outcome)

    async def _bounded(self) -> AsyncGenerator[T, None]:
        await self.backend.ready(self.function, self.model)  # may load for minutes, and says so itself if in vain
        self._deadline = _now() + getattr(self.config, f"{self.function}_timeout")
        # A batch call has nobody who waits to hear something, and a model of this box that is not heard of is at work:
        # it is known when its process ends. A transcript comes all at once: whoever hears may take as long as was said.
        patient = self.batch or self.backend.name == "local"
        said = self.seconds if self.function == "hear" else 0.0
        self._patience = math.inf if patient else max(self.config.first_timeout, said)
        while True:
            await self._take_slot()
            try:
                async with aclosing(self._attempted()) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except Failure as failure:
                pause = self._pause_before_retry(failure)
                if pause is None:
                    raise
                self._begin_again()
                log.info("%s failed, again in %.1f s: %s", self.function, pause, self._loggable(failure))
            finally:
                self.slots.release()
            await asyncio.sleep(pause)

    async def _take_slot(self) -> None:
        asked = _now()
        try:
            async with asyncio.timeout_at(None if self.batch else self._deadline):
                await self.slots.acquire(self.account, batch=self.batch)
        except TimeoutError:
            busy = f"all of speech_calls = {self.slots.total} calls were in progress for {self.function}_timeout"
            raise Failure("timeout", busy) from None
        if self.batch:
            self._began += _now() - asked
            self._deadline += _now() - asked

    async def _attempted(self) -> AsyncGenerator[T, None]:
        self.attempts += 1
        self._paused_at = None
        self._call = Call(model=self.model, language=self.language, spoken=self._call.spoken, alive=self._alive)
        self._sign_due = _now() + self._patience
        try:
            async with aclosing(self.attempt(self._call)) as pieces:
                while (piece := await self._next(pieces)) is not END:
                    self._alive()
                    self._begun_part = self._call.spoken
                    yield piece  # type: ignore[misc]  # END is left out
        finally:
            self._patience = min(self._patience, self._sign_due - _now())

    async def _next(self, pieces: AsyncGenerator[T, None]) -> T | object:
        try:
            async with asyncio.timeout(None) as self._watch:
                self._rearm()
                return await anext(pieces, END)
        except TimeoutError:
            raise self._overdue() from None
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

    def resume(self) -> None:
        if self._paused_at is not None:
            self._sign_due += _now() - self._paused_at
            self.allow(_now() - self._paused_at)
        self._paused_at = None
        self._rearm()

    def allow(self, seconds: float) -> None:
        self._deadline += seconds
        self._rearm()

    def _alive(self) -> None:
        self._sign_due = math.inf
        self._rearm()

    def _rearm(self) -> None:
        if self._watch is not None and not self._watch.expired():
            silence = math.inf if self.function == "hear" else _now() + self.config.silence_timeout
            due = min(silence, self._deadline, self._sign_due)
            self._watch.reschedule(None if self._paused_at is not None else due)

    def _overdue(self) -> Failure:
        over = _now() >= self._deadline
        early = "first_timeout" if _now() >= self._sign_due else "silence_timeout"
        setting = f"{self.function}_timeout" if over else early
        limit = f"{setting} = {getattr(self.config, setting):g} s"
        if over and self.function == "reply" and self._begun_part is not None:
            return Failure("length", f"it was not at its end after {limit}")
        return Failure("timeout", f"nothing more came within {limit}")

    def _pause_before_retry(self, failure: Failure) -> float | None:
        """Seconds to wait before the next attempt; None if there must be none."""
        part = self._call.spoken
        heard = self._begun_part == part and self.begin_again is None
        if heard or failure.kind not in PASSING or self._retries[part] == RETRIES or self._patience <= 0:
            return None
        pause = random.random() * min(MAX_BACKOFF, BACKOFF * 2 ** self._retries[part]) + (failure.retry_after or 0.0)
        self._retries[part] += 1
        return pause if _now() + pause < self._deadline else None

    def _begin_again(self) -> None:
        """Where it broke off in the middle of a part. Parts that are whole cannot be kept without that one."""
        if self.begin_again is not None and self._begun_part == self._call.spoken:
            self.begin_again()
            self._begun_part, self._call.spoken, self.seconds = None, 0, 0.0

    def _error(self, failure: Failure) -> SpeechError:
        name = self.voice or f"{self.backend.name}/{self.model}"
        advice = advise(failure.kind, self.function, self.backend.name)
        message, reason = (
            f"{self.function} with {name} failed: {_short(words)}{advice and '; '}{advice}"
            for words in (failure.message, self._loggable(failure))
        )
        return SpeechError(code_of(failure.kind, self.function), message, failure.kind, reason)

    def _loggable(self, failure: Failure) -> str:
        """Servers may repeat what they were sent, whole or in part."""
        return _short(failure.message if self.config.log_content else failure.reason)

    def _elapsed(self) -> int:
        return round(1000 * (_now() - self._began))

    def _record(self, at: float, outcome: str) -> None:
        total_ms = self._elapsed()
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


def _short(words: str) -> str:
    return redact(words)[:MAX_MESSAGE].rstrip(" .")


def _now() -> float:
    return asyncio.get_running_loop().time()
