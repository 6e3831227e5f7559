"""The desk: accepts jobs, journals every step of their life, tells the feed.

Two views of a job are kept while it lives. `job` is the truth the fleet works with, changed at once; `shown` is what
the journal has committed, and the only one that clients see.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from echod.config import Settings
from echod.errors import EchodError
from echod.host import removal, strays
from echod.host.directories import create_private, unstorable
from echod.jobs import folder, life
from echod.jobs.entry import EVENT_TYPES, Entry, told
from echod.jobs.feed import Feed
from echod.jobs.job import BATCH, CONVERSATION, Draft, Job
from echod.jobs.queue import JobQueue, Lane
from echod.jobs.rows import JobRows
from echod.journal import Journal
from echod.uploads.quota import Quota

log = logging.getLogger("echod.desk")

COMMIT_RETRY = 1.0  # seconds between two tries to write a step that must not be lost


class Dispatcher(Protocol):
    """What the desk asks of the fleet."""

    def wake(self) -> None:
        """There may be something to dispatch."""

    def cancel(self, job: Job) -> None:
        """End the attempt of a job in progress."""

    def helpers(self, job_id: str) -> list[str]:
        """Devices that help with a job at present."""

    def refusal(self) -> EchodError | None:
        """Why no job can ever run at present, if so."""


class Desk:
    """`engines` are those every worker loads, the main one first.

    `clock` tells the time of day and may jump; `ticks` measures how long things take and does not. `trusted` is the
    time for what expires.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        engines: tuple[str, ...],
        *,
        boot: int,
        quota: Quota | None = None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        trusted: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings
        self.rows = JobRows(journal)
        self.engines = engines
        self.quota = quota or Quota(settings)
        self.clock = clock
        self.ticks = ticks
        self.trusted = trusted or clock
        self.root = settings.now.state_dir / "jobs"
        self.queue = JobQueue(lambda job: self._live[job.id].place)
        self.feed = Feed(boot, lambda: [entry.shown for entry in self._live.values()], clock)
        self.sweeping = asyncio.Lock()  # also while a clip is being pinned: it is not to be removed meanwhile
        self.draining = False
        self.closing = False  # a step that cannot be committed now never will be
        self.on_end: Callable[[Job], None] = lambda job: None  # it is committed
        self.on_text: Callable[[Job], None] = lambda job: None  # a job was accepted whose words are to be spoken
        self._dispatcher: Dispatcher
        self._live: dict[str, Entry] = {}
        self._places = itertools.count()
        self._accepting: list[Job] = []
        self._commits: set[asyncio.Task[None]] = set()

    async def open(self, dispatcher: Dispatcher) -> None:
        """Take up what an earlier daemon left: jobs in progress are queued again, `strays` cleared away."""
        self._dispatcher = dispatcher
        create_private(self.root)  # what people sent is theirs
        for job in await self.rows.unfinished():
            await self._take_up(job)
        known = {job.id: job for job in await self.rows.select()}
        for job in known.values():
            self._count(job)
        unknown = [directory for directory in strays.directories(self.root) if directory.name not in known]
        await asyncio.to_thread(strays.clear, unknown)

    async def _take_up(self, job: Job) -> None:
        progress = max(job.progress, folder.noted_progress(self.directory(job.id)))
        job = msgspec.structs.replace(job, progress=progress)
        again = self._advance(job, life.Requeued(job.attempt))
        if job.cancel_requested:
            again = self._advance(again, life.Cancelled())
        elif job.priority == CONVERSATION:
            again = self._advance(again, life.Cancelled("the daemon ended, and with it the conversation of this clip"))
        if again is not job:
            await self.rows.save(again)
        if again.terminal:
            await self.tidy(again)
        else:
            self._enter(again)

    def _advance(self, job: Job, event: life.Event) -> Job:
        after = life.advance(job, event, self.clock())
        if after.terminal and after.expires_at is None:
            after = msgspec.structs.replace(after, expires_at=self.clock() + self.settings.now.keep_clips)
        return after

    async def close(self) -> None:
        """Wait for steps that are being committed; those that cannot be are repeated by the next start."""
        self.closing = True
        await asyncio.gather(*self._commits, return_exceptions=True)

    # Accept

    def check_open(self, account: str, priority: int = BATCH) -> None:
        """Refuse what would be refused anyway, before a byte of the request is read.

        A conversation goes before all batch jobs: however many there are, they are none of its concern.
        """
        if self.draining:
            raise EchodError("draining", "this daemon is shutting down; try again when it is back")
        if refusal := self._dispatcher.refusal():
            raise refusal
        queue: Lane | JobQueue = self.queue.conversation if priority >= CONVERSATION else self.queue
        coming = [job.account for job in (*self.unspoken(), *self._accepting) if job.priority >= priority]
        waiting, limit = len(queue) + len(coming), self.settings.now.queue_limit
        if waiting >= limit:
            raise EchodError("queue_full", f"{waiting} jobs are queued and queue_limit is {limit}; try again later")
        waiting = queue.waiting(account) + coming.count(account)
        if waiting >= (limit := self.settings.now.jobs_per_account):
            raise EchodError(
                "quota_exceeded",
                f"{waiting} jobs of this account are queued and jobs_per_account is {limit}; try again later",
            )
        self.quota.check(account)
        if (free := shutil.disk_usage(self.root).free) < (limit := self.settings.now.min_free):
            raise EchodError(
                "disk_full",
                f"{free >> 20} MiB are free in {self.root} and min_free is {limit >> 20} MiB; "
                "remove clips (`echod rm`) or lower min_free",
            )

    def engine(self, name: str | None) -> str:
        """The engine a job that asks for `name` gets."""
        if name is None or name == "auto":
            return self.engines[0]
        if name not in self.engines:
            raise EchodError(
                "model_not_loaded",
                f"model {name!r} is not loaded; this daemon has {', '.join(self.engines)} "
                "(`echod serve --engine` decides that)",
                param="model",
            )
        return name

    async def knows(self, account: str, key: str) -> bool:
        """Whether an idempotency key was used: such a request makes no job, and is welcome whatever the queue."""
        return await self.rows.replayed(account, key, self.trusted()) is not None

    async def replay(self, account: str, key: str, fingerprint: str | None) -> Job | None:
        """The job that an earlier request with this idempotency key made."""
        earlier = await self.rows.replayed(account, key, self.trusted())
        if earlier and earlier.fingerprint != fingerprint:
            raise EchodError(
                "idempotency_conflict",
                "this Idempotency-Key was used within 24 hours for another request; use a new key for a new job",
                param="Idempotency-Key",
            )
        return await self.find(earlier.job, account) if earlier else None

    async def accept(self, draft: Draft) -> Job:
        """Commit a job: its inputs are on disk and its row is in the journal when this returns.

        Raises queue_full, quota_exceeded, draining, no_device, disk_full, model_not_loaded, idempotency_conflict.
        """
        self.check_open(draft.account, draft.priority)
        job = draft.job(self.engine(draft.engine), self.settings.now, self.clock())
        key = draft.idempotency_key
        directory = self.directory(job.id)
        self._accepting.append(job)
        try:
            inputs = draft.portrait_file, draft.speech_file, draft.before
            await asyncio.to_thread(folder.take_inputs, directory, *inputs)
            added = await self.rows.add(job, key, draft.fingerprint, self.trusted())
        except BaseException as error:
            strays.discard(directory)
            if isinstance(error, OSError):
                raise unstorable("the inputs", error) from error
            raise
        finally:
            self._accepting.remove(job)
        if key and not added:  # another request with it was quicker
            await asyncio.to_thread(strays.discard, directory)
            return await self.replay(draft.account, key, draft.fingerprint) or await self.accept(draft)
        strays.accepted(directory)
        self._count(job)
        self._enter(job)
        self.feed.publish("job.queued", job)
        asked = {"job": job.id, "engine": job.engine, "account": job.account, "label": job.options.label}
        log.info("queued", extra=asked)
        self._dispatcher.wake()
        return job

    def _enter(self, job: Job) -> None:
        self._live[job.id] = Entry(job, next(self._places))
        if job.speech is None:
            self.on_text(job)
        else:
            self.queue.push(job)

    # Look

    def directory(self, job_id: str) -> Path:
        """Where a job's files lie. `job_id` must be one this desk has given out."""
        return self.root / job_id

    def lives(self, job_id: str) -> bool:
        """Whether the job has not ended yet."""
        return job_id in self._live

    def helpers(self, job_id: str) -> list[str]:
        """Devices that help with a job at present."""
        return self._dispatcher.helpers(job_id)

    def running_for(self, job_id: str) -> float | None:
        """Seconds since the running attempt of a job began."""
        entry = self._live.get(job_id)
        return None if entry is None or entry.began is None else self.ticks() - entry.began

    def unspoken(self) -> list[Job]:
        """Jobs whose words are still to be spoken, oldest first."""
        return [entry.job for entry in self._live.values() if entry.job.speech is None]

    async def ended(self, job_id: str) -> None:
        """Return once the job has ended."""
        if entry := self._live.get(job_id):
            await entry.ended.wait()

    async def find(self, job_id: str, account: str | None) -> Job:
        """A job as committed; not_found if there is none, or it belongs to another account (None: any will do)."""
        entry = self._live.get(job_id)
        job = entry.shown if entry else await self.rows.get(job_id)
        if job is None or account not in (None, job.account):
            raise _no_job(job_id)
        return job

    async def list(
        self, account: str | None, *, after: str | None = None, limit: int = 20, newest_first: bool = True
    ) -> tuple[list[Job], bool]:
        """A page of jobs, and whether there are more."""
        if after is not None and not await self.rows.had(after, account):
            raise _no_job(after)
        rows = await self.rows.select(account, after=after, limit=limit + 1, newest_first=newest_first)
        page = [self._live[row.id].shown if row.id in self._live else row for row in rows[:limit]]
        return page, len(rows) > limit

    # Change

    async def cancel(self, job_id: str, account: str | None) -> Job:
        """End a queued job at once, a running one at its next checkpoint; an ended one stays as it is."""
        job = await self.find(job_id, account)
        entry = self._live.get(job_id)
        if entry is None:
            return job
        if entry.job.status == "queued":
            await self.apply(job_id, life.Cancelled())
        elif not entry.job.terminal and not entry.job.cancel_requested:
            await self.apply(job_id, life.CancelRequested())
            self._dispatcher.cancel(entry.job)
        return entry.shown

    async def remove(self, job_id: str, account: str | None) -> None:
        """Cancel the job, wait for its end, remove its files and its row."""
        await self.cancel(job_id, account)
        await self.ended(job_id)
        self.quota.forget(directory := self.directory(job_id))
        await removal.remove(directory, lambda: self.rows.remove(job_id))
        self.quota.forget(directory)  # which was perhaps just being tidied

    # The fleet's side

    async def begin(
        self, job_id: str, device: str, dtype: str | None = None, approximation: str | None = None
    ) -> Job | None:
        """Commit the next attempt of a job that was taken from the queue; None if it has ended.

        A cancel may have come meanwhile: look at `cancel_requested` before sending it anywhere.
        """
        await self.apply(job_id, life.Dispatched(device, dtype, approximation))
        entry = self._live.get(job_id)
        return entry.job if entry and not entry.job.terminal else None

    async def apply(self, job_id: str, event: life.Event) -> Job | None:
        """Advance a job and, if its status changed, return once that is committed and told."""
        entry = self._live.get(job_id)
        if entry is None:
            return None
        before, after = entry.job, self._advance(entry.job, event)
        if after is before:
            return after
        entry.job = after
        if isinstance(event, life.Dispatched):
            entry.began = self.ticks()
        if isinstance(event, life.Progressed | life.FirstFrame):
            entry.shown = after
            self.feed.publish(EVENT_TYPES[type(event)], after)
            return after
        self._move(before, after)
        commit = asyncio.ensure_future(self._commit(entry, after, event))
        self._commits.add(commit)
        commit.add_done_callback(self._commits.discard)
        # Shielded: a client that goes away must not undo a step of the job.
        await asyncio.shield(commit)
        return after

    def _move(self, before: Job, after: Job) -> None:
        if before.status == "queued":
            self.queue.discard(before.id)
        if after.status == "queued" and after.speech is not None:
            self.queue.push(after)

    async def _commit(self, entry: Entry, job: Job, event: life.Event) -> None:
        async with entry.turn:
            if not await self._save(job):
                return
        entry.shown = job
        if isinstance(event, life.Spoken):
            self._count(job)
        if job.terminal:
            del self._live[job.id]
            entry.ended.set()
        type_ = f"job.{job.status}" if job.status != "in_progress" else EVENT_TYPES[type(event)]
        self.feed.publish(type_, job)
        if job.terminal:
            self.on_end(job)
        step = told(event, job, self.ticks() - entry.began if entry.began else 0.0)  # a clock may have been set
        log.info(step, extra={"job": job.id, "device": job.device, "attempt": job.attempt, **self._reason(job)})
        self._dispatcher.wake()
        if job.terminal:
            await self.tidy(job)

    async def tidy(self, job: Job) -> None:
        """Remove what its attempts left."""
        try:
            await asyncio.to_thread(folder.tidy, self.directory(job.id), job.status == "completed")
        except OSError as error:  # the next sweep tries again
            log.warning("what its attempts left cannot be removed: %s", error, extra={"job": job.id})
        self._count(job)

    def _count(self, job: Job) -> None:
        self.quota.count(job.account, self.directory(job.id))

    def _reason(self, job: Job) -> dict[str, str]:
        """Why a job has failed, for the log: without what a speech server says to the words, which it may repeat."""
        if job.error is None:
            return {}
        private = job.error.code.startswith("upstream_") and not self.settings.now.log_content
        return {"code": job.error.code} | ({} if private else {"why": job.error.message})

    async def _save(self, job: Job) -> bool:
        """Write a step, however long that takes; False if the daemon ends first."""
        while True:
            try:
                await self.rows.save(job)
                return True
            except EchodError as error:
                log.error("a step waits for the journal: %s", error.message, extra={"job": job.id})
            if self.closing:
                return False
            await asyncio.sleep(COMMIT_RETRY)


def _no_job(job_id: str) -> EchodError:
    return EchodError("not_found", f"there is no video {job_id!r} here; `echod ps --all` lists them")
