"""What goes without being asked to: clips that have expired, and the oldest where there is no room for all."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from echod.errors import EchodError
from echod.host import removal
from echod.host.clock import STEP
from echod.jobs import folder
from echod.jobs.desk import Desk
from echod.jobs.job import Job

log = logging.getLogger("echod.desk")


async def sweep(desk: Desk) -> None:
    """Remove ended jobs that have expired, then others until all clips fit into `clips_cap`; no pinned ones.

    Of the others what their attempts left: at their end that may have failed.
    """
    async with desk.sweeping:
        await _sweep(desk)


async def _sweep(desk: Desk) -> None:
    ended = await desk.rows.finished()
    doomed = await asyncio.to_thread(_doomed, desk, ended)
    for job in doomed:  # all of them before any row: the first may have nothing that makes room for the journal
        desk.quota.forget(desk.directory(job.id))
        await asyncio.to_thread(removal.empty, desk.directory(job.id))
    for job in doomed:
        try:
            await desk.remove(job.id, None)
        except EchodError as error:  # the others may go
            log.warning("its clip cannot be removed: %s", error.message, extra={"job": job.id})
    for job in ended:
        await desk.tidy(job)
        await _date_back(desk, job)


def _doomed(desk: Desk, ended: Sequence[Job]) -> Sequence[Job]:
    now = desk.trusted()
    doomed: list[Job] = []
    left: list[Job] = []
    for job in ended:
        expired = job.expires_at is not None and job.expires_at <= now
        gone = expired or removal.is_cut_short(desk.directory(job.id))
        (doomed if gone else left).append(job)
    sizes = {job.id: folder.size(desk.directory(job.id)) for job in left}
    return [*doomed, *too_many(left, sizes, desk.settings.now.clips_cap)]


def too_many(jobs: Iterable[Job], sizes: Mapping[str, int], cap: int) -> Iterator[Job]:
    """Those that go, until the others take no more than `cap` bytes: the oldest of whichever account has most.

    So whoever has less than an equal share of the cap loses nothing to others. `jobs` are the oldest first.
    """
    held: Counter[str] = Counter()
    may_go: defaultdict[str, deque[Job]] = defaultdict(deque)
    for job in jobs:
        held[job.account] += sizes[job.id]
        if not job.pinned:
            may_go[job.account].append(job)
    while held.total() > cap and may_go:
        account = max(may_go, key=lambda each: held[each])
        yield (job := may_go[account].popleft())
        held[account] -= sizes[job.id]
        if not may_go[account]:
            del may_go[account]


async def _date_back(desk: Desk, job: Job) -> None:
    """A clip that was made while the clock was ahead is not kept for as long as it was ahead."""
    latest = desk.clock() + desk.settings.now.keep_clips
    if job.finished_at and job.expires_at and job.finished_at > desk.clock() + STEP and job.expires_at > latest:
        await desk.rows.save(msgspec.structs.replace(job, expires_at=latest))
