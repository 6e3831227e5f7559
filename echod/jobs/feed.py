"""What happens to jobs, told to everyone who watches.

A watcher that reads slowly holds up nobody: it keeps the newest progress of each job and every other event, and it is
dropped when those alone pile up beyond `MAX_PENDING`; it can come back with the last `seq` it saw.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Annotated, TypeAlias

import msgspec

from echod.jobs.job import Job

SNAPSHOT, PROGRESS = "job.snapshot", "job.progress"
JOB_EVENTS = (
    SNAPSHOT, "job.queued", "job.started", PROGRESS, "job.first_frame", "job.completed", "job.failed", "job.cancelled",
)  # fmt: skip
JobEvent: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(JOB_EVENTS)})]
PROGRESS_INTERVAL = 0.1  # seconds between two progress events of one job to one watcher
HISTORY = 4096  # events other than progress kept for watchers that come back
MAX_PENDING = 10_000


class FeedEvent(msgspec.Struct, frozen=True):
    """One change. `seq` grows across restarts of the daemon; `ts` is seconds since the epoch."""

    type: JobEvent
    seq: int
    ts: float
    job: Job


class Feed:
    """`boot` counts the daemon's starts; `live` gives the jobs that have not ended, oldest first."""

    def __init__(self, boot: int, live: Callable[[], Iterable[Job]], clock: Callable[[], float] = time.time) -> None:
        self._first = self._seq = boot << 32  # below 2**53 for two million starts, so that JavaScript counts along
        self._live = live
        self._clock = clock
        self._history: deque[FeedEvent] = deque(maxlen=HISTORY)
        self.watchers: set[Watcher] = set()
        self.listeners: list[Callable[[FeedEvent], None]] = []  # told of everything there and then

    def publish(self, type: str, job: Job) -> None:
        self._seq += 1
        event = FeedEvent(type, self._seq, self._clock(), job)
        if type != PROGRESS:
            self._history.append(event)
        for watcher in list(self.watchers):
            watcher.offer(event)
        for listener in self.listeners:
            listener(event)

    def watch(self, account: str | None, after: int | None = None) -> Watcher:
        """Everything of one account (None: of all), from `after` on if that is still known, else from snapshots on."""

        def wants(job: Job) -> bool:
            return account is None or job.account == account

        missed = self._missed(after)
        if missed is None:
            return Watcher(self, wants, self._snapshots([job for job in self._live() if wants(job)]))
        return Watcher(self, wants, [event for event in missed if wants(event.job)])

    def watch_job(self, job: Job) -> Watcher:
        """One job: its present state, then every change."""
        return Watcher(self, lambda other: other.id == job.id, [self._snapshot(job)])

    def _snapshots(self, jobs: list[Job]) -> list[FeedEvent]:
        """All but the last carry a seq that nothing can be resumed from: who saw only some of them gets all again."""
        snapshots = [self._snapshot(job) for job in jobs]
        unknown = [msgspec.structs.replace(snapshot, seq=self._first - 1) for snapshot in snapshots[:-1]]
        return unknown + snapshots[-1:]

    def _snapshot(self, job: Job) -> FeedEvent:
        return FeedEvent(SNAPSHOT, self._seq, self._clock(), job)

    def _missed(self, after: int | None) -> list[FeedEvent] | None:
        oldest = self._history[0].seq if len(self._history) == HISTORY else self._first
        if after is None or not oldest <= after <= self._seq:
            return None
        return [event for event in self._history if event.seq > after]


class Watcher(AsyncIterator[FeedEvent]):
    """An endless stream of events; ends after `close`, or when its reader has fallen too far behind."""

    def __init__(self, feed: Feed, wants: Callable[[Job], bool], start: list[FeedEvent]) -> None:
        self._feed = feed
        self._wants = wants
        # Progress waits under its job's id, anything else under a number of its own.
        self._pending: dict[str | int, FeedEvent] = dict(enumerate(start, start=-len(start)))
        self._told: dict[str, float] = {}
        self._seq = 0  # the highest that was told
        self._wake = asyncio.Event()
        feed.watchers.add(self)

    def offer(self, event: FeedEvent) -> None:
        if not self._wants(event.job):
            return
        self._pending.pop(event.job.id, None)  # progress that this event makes old
        self._pending[event.job.id if event.type == PROGRESS else event.seq] = event
        if len(self._pending) > MAX_PENDING:
            self.close()
        self._wake.set()

    def close(self) -> None:
        self._feed.watchers.discard(self)
        self._wake.set()

    async def __anext__(self) -> FeedEvent:
        while True:
            key, wait = self._next()
            if key is not None:
                return self._tell(self._pending.pop(key))
            if self not in self._feed.watchers:
                raise StopAsyncIteration
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):  # wait_for loses a cancel that comes with the event, in Python 3.11
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _next(self) -> tuple[str | int | None, float | None]:
        """The key of the first event that may be told now, or how long until there is one."""
        now = time.monotonic()
        wait = None
        for key, event in self._pending.items():
            due = self._told.get(event.job.id, 0.0) + PROGRESS_INTERVAL if event.type == PROGRESS else now
            if due <= now:
                return key, None
            wait = min(due - now, wait if wait is not None else due - now)
        return None, wait

    def _tell(self, event: FeedEvent) -> FeedEvent:
        if event.job.terminal:
            self._told.pop(event.job.id, None)
        else:
            self._told[event.job.id] = time.monotonic()
        # Other events overtake progress that waits. With its own seq it would have them told again on resuming.
        self._seq = max(self._seq, event.seq)
        return msgspec.structs.replace(event, seq=self._seq) if event.type == PROGRESS else event
