"""One client of /v1/avatar: what it has to say becomes pieces, pieces become conversation jobs, their clips pictures.

Two tasks: one cuts and has jobs accepted, at most `AHEAD` of them not shown yet; one shows them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import struct
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from enum import IntEnum
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from echod.conversation.detector import WINDOW, Detector
from echod.errors import EchodError, gone, invalid
from echod.host.directories import unstorable
from echod.inspection.facts import SpeechFacts
from echod.jobs.folder import END
from echod.jobs.job import Job
from echod.server.avatar.cutting import SECOND, SHORTEST, Segment
from echod.server.avatar.outbox import Outbox
from echod.server.avatar.pictures import Decoder, Picture, access_units
from echod.server.avatar.start import Start
from echod.server.budget import Share
from echod.server.refusals import fault
from echod.server.services import Services
from echod.sound import flac
from echod.sound.flac import SpeechFile
from echod.sound.pcm import SAMPLE, SPEAK_RATE

log = logging.getLogger("echod.avatar")

AHEAD = 2  # jobs of a client that are not shown yet
MAX_SEGMENTS = 64  # that wait


class Kind(IntEnum):
    """What a binary message holds, in its first byte."""

    H264 = 1
    RGB24 = 2
    PCM16 = 3
    RESTING = 4  # a picture as the video is, to be seen while nothing is said


class _Piece(NamedTuple):
    segment: int | None  # None: the picture at rest
    frame: int  # of the segment, that it begins with
    sound: bytes
    accepting: asyncio.Task[Job]
    followed: asyncio.Event  # nothing goes on from it any more


class _End(NamedTuple):
    segment: int
    frames: int


class Session:
    """Begins at once. `share` is the memory for what is said and not cut yet."""

    def __init__(self, services: Services, start: Start, outbox: Outbox, share: Share) -> None:
        self._services = services
        self._start = start
        self._outbox = outbox
        self._share = share
        self._detector = Detector()
        self._segments: deque[Segment] = deque()
        self._numbers = 0
        self._rested = False
        self._frame = SECOND // start.options.fps  # bytes of the sound that belongs to a picture
        self.broken = asyncio.Event()
        self._removing: set[asyncio.Task[None]] = set()
        width, height = start.size
        fps = start.options.fps
        outbox.tell("started", width=width, height=height, fps=fps, rate=SPEAK_RATE, video=start.video)
        self._begin()

    async def close(self) -> None:
        await self._stop()
        await self._cancel_jobs()
        self._detector.close()

    # What a client may say

    def hear(self, sound: bytes) -> None:
        """More of what is to be said. EchodError rate_limited if too much waits."""
        segment = self._open()
        self._share.resize(self._held() + len(sound))
        segment.feed(sound)
        self._more.set()

    async def handle(self, event: dict[str, Any]) -> None:
        """EchodError for one that cannot be acted on."""
        match event.get("type"):
            case "flush":
                self._open().finish()
                self._more.set()
            case "clear":
                await self._clear()
            case kind:
                raise invalid(f"there is no event {kind!r}; known are flush and clear, and sound is binary", "type")

    def _open(self) -> Segment:
        """The one that is being said."""
        if not self._segments or self._segments[-1].whole:
            if len(self._segments) >= MAX_SEGMENTS:
                raise EchodError("rate_limited", f"{MAX_SEGMENTS} segments wait already: let some be shown first")
            self._segments.append(Segment(self._numbers, self._start.rate, self._start.options.fps))
            self._numbers += 1
        return self._segments[-1]

    def _held(self) -> int:
        return sum(segment.held for segment in self._segments)

    async def _clear(self) -> None:
        await self._stop()
        self._outbox.drop()
        self._outbox.tell("cleared")
        self._segments.clear()
        self._share.resize(0)
        self._detector.close()
        await self._cancel_jobs()
        self._begin()

    # What becomes of it

    def _begin(self) -> None:
        self._more = asyncio.Event()
        self._slots = asyncio.Semaphore(AHEAD)
        self._pieces: asyncio.Queue[_Piece | _End] = asyncio.Queue()
        self._accepting: set[asyncio.Task[Job]] = set()
        self._last: _Piece | None = None  # from which another may go on
        self._tasks = [asyncio.create_task(self._guarded(work)) for work in (self._make, self._show)]

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            log.exception("an avatar broke")
            error = EchodError("internal", "something went wrong here; the daemon's log says what")
            self._outbox.tell("error", error=fault(error))
            self.broken.set()

    async def _stop(self) -> None:
        """From now on nothing is shown."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._follow(None)

    async def _cancel_jobs(self) -> None:
        for accepted in await asyncio.gather(*self._accepting, return_exceptions=True):
            if isinstance(accepted, Job):
                with gone():
                    await self._services.desk.cancel(accepted.id, None)
                self._remove(accepted)

    def _remove(self, job: Job, followed: asyncio.Event | None = None) -> None:
        """What was shown is the client's, and nobody else's: nothing of it is kept."""

        async def remove() -> None:
            if followed is not None:
                await followed.wait()
            with gone():
                await self._services.desk.remove(job.id, None)

        task = asyncio.create_task(remove())
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    # Make

    async def _make(self) -> None:
        if not self._rested:
            await self._add(None, 0, bytes(math.ceil(SHORTEST * self._start.options.fps) * self._frame))
            await asyncio.to_thread(_load_detector)
        while True:
            await self._slots.acquire()
            segment, sound = await self._next()
            if sound is None:
                self._slots.release()
            else:
                frame = segment.frames - len(sound) // self._frame
                await self._add(segment.number, frame, sound, (frame > 0, not segment.done))
            if segment.done:
                self._follow(None)
                self._segments.popleft()
                self._pieces.put_nowait(_End(segment.number, segment.frames))

    async def _next(self) -> tuple[Segment, bytes | None]:
        """The next piece and whose it is; None where a segment has no more."""
        while True:
            self._more.clear()
            if self._segments:
                segment = self._segments[0]
                sound = segment.cut(self._detector)
                if sound is not None or segment.done:
                    self._share.resize(self._held())
                    return segment, sound
            await self._more.wait()

    async def _add(
        self, segment: int | None, frame: int, sound: bytes, joins: tuple[bool, bool] = (False, False)
    ) -> None:
        before = await self._end_before() if joins[0] else None
        accepting = asyncio.create_task(self._accept(sound, joins, before))
        self._accepting.add(accepting)  # so that a job accepted while this is stopped is cancelled
        await asyncio.wait([accepting])  # one after another, as they are to be queued
        piece = _Piece(segment, frame, sound, accepting, asyncio.Event())
        self._follow(piece if self._start.chained else None)
        if not self._start.chained:
            piece.followed.set()
        self._pieces.put_nowait(piece)

    def _follow(self, piece: _Piece | None) -> None:
        """From now on this one is the last, and what was before it may go."""
        if self._last is not None:
            self._last.followed.set()
        self._last = piece

    async def _end_before(self) -> Path | None:
        """The end of the clip before, once that is made; None where it left none, or nothing is chained."""
        if self._last is None or self._last.accepting.exception() is not None:
            return None
        job = self._last.accepting.result()
        await self._services.desk.ended(job.id)
        end = self._services.desk.directory(job.id) / END
        return end if end.exists() else None

    async def _accept(self, sound: bytes, joins: tuple[bool, bool], before: Path | None) -> Job:
        path = self._services.conversations.scratch / f"{secrets.token_hex(8)}.flac"
        try:
            speech = await asyncio.to_thread(_write, path, sound)
            with self._services.accounts.at_work(self._start.account):
                return await self._services.desk.accept(self._start.draft(speech, path, joins, before))
        except OSError as error:
            raise unstorable("the speech", error) from error
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    # Show

    async def _show(self) -> None:
        while True:
            piece = await self._pieces.get()
            if isinstance(piece, _End):
                seconds = piece.frames / self._start.options.fps
                self._outbox.tell("segment.done", stays=False, segment=piece.segment, seconds=seconds)
            else:
                await (self._rest(piece) if piece.segment is None else self._play(piece))
                self._accepting.discard(piece.accepting)
                if piece.accepting.exception() is None:
                    self._remove(piece.accepting.result(), piece.followed)

    async def _rest(self, piece: _Piece) -> None:
        try:
            async with aclosing(self._pictures(piece)) as pictures:
                async for picture in pictures:
                    await self._outbox.put(_message(Kind.RESTING, 0, picture.data))
                    self._rested = True
                    return
        except EchodError as error:
            self._fail(piece, error)

    async def _play(self, piece: _Piece) -> None:
        """Picture by picture, each behind its sound, which is heard also where a picture cannot be made."""
        sounds = (piece.sound[start : start + self._frame] for start in range(0, len(piece.sound), self._frame))
        frames = enumerate(sounds, piece.frame)
        try:
            async with aclosing(self._pictures(piece)) as pictures:
                async for picture in pictures:
                    for frame, sound in islice(frames, 1):
                        await self._outbox.put(_message(Kind.PCM16, self._time(frame), sound))
                    at = self._time(piece.frame + picture.frame)
                    await self._outbox.put(_message(Kind[self._start.video.upper()], at, picture.data))
        except EchodError as error:
            self._fail(piece, error)
        for frame, sound in frames:
            await self._outbox.put(_message(Kind.PCM16, self._time(frame), sound))
        self._slots.release()

    def _fail(self, piece: _Piece, error: EchodError) -> None:
        log.warning("no pictures: %s", error.message, extra={"account": self._start.account, "code": error.code})
        self._outbox.tell("error", stays=False, error=fault(error), segment=piece.segment)

    async def _pictures(self, piece: _Piece) -> AsyncGenerator[Picture, None]:
        job, told = await piece.accepting, 0

        def waiting() -> None:
            nonlocal told
            place = self._services.desk.queue.position(job.id)
            if place is not None and place != told:
                told = place
                self._outbox.tell("queued", stays=False, segment=piece.segment, place=place)

        decoder = Decoder() if self._start.video == "rgb24" else None
        async with aclosing(access_units(self._services.desk, job, waiting)) as batches:
            async for unit in _flat(batches):
                if decoder is None:
                    yield unit
                    continue
                for picture in await asyncio.to_thread(decoder.decode, unit):
                    yield picture
        for picture in await asyncio.to_thread(decoder.decode, None) if decoder else ():
            yield picture

    def _time(self, frame: int) -> int:
        """Microseconds since the segment began."""
        return round(frame * 1_000_000 / self._start.options.fps)


async def _flat(batches: AsyncIterator[list[Picture]]) -> AsyncIterator[Picture]:
    async for batch in batches:
        for each in batch:
            yield each


def _message(kind: Kind, microseconds: int, content: bytes) -> bytes:
    return struct.pack(">BQ", kind, microseconds) + content


def _write(path: Path, sound: bytes) -> SpeechFacts:
    with SpeechFile(path) as file:
        file.write(sound)
    return flac.publish(path)


def _load_detector() -> None:
    """While nobody waits for it: the first one takes longest."""
    detector = Detector()
    detector.voice_in(bytes(WINDOW * SAMPLE))
    detector.close()
