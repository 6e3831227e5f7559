"""Clips that stay until somebody removes them: their time does not run out, and they make room for no other."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from echod.errors import EchodError
from echod.jobs import folder
from echod.jobs.desk import Desk
from echod.jobs.job import Job

MiB = 2**20


async def pin(desk: Desk, job_id: str, account: str | None) -> Job:
    """Raises EchodError: not_found, not_ready, quota_exceeded if the pinned clips would take too much."""
    async with desk.sweeping:
        job = await desk.find(job_id, account)
        if job.status != "completed":
            raise EchodError("not_ready", f"it is {job.status}: there is no clip to pin")
        if not job.pinned:
            await _check_room(desk, job)
            await desk.rows.save(replace(job, pinned=True, expires_at=None))
        return await desk.find(job_id, account)  # it may have been removed meanwhile


async def unpin(desk: Desk, job_id: str, account: str | None) -> Job:
    """From now on it is kept as long as a new clip. Raises EchodError: not_found."""
    async with desk.sweeping:
        job = await desk.find(job_id, account)
        if job.pinned:
            until = desk.clock() + desk.settings.now.keep_clips
            await desk.rows.save(replace(job, pinned=False, expires_at=until))
        return await desk.find(job_id, account)


async def _check_room(desk: Desk, job: Job) -> None:
    settings = desk.settings.now
    pinned = [other for other in await desk.rows.finished() if other.pinned]
    sizes = await asyncio.to_thread(lambda: {each.id: folder.size(desk.directory(each.id)) for each in [*pinned, job]})
    own = sizes[job.id] + sum(sizes[other.id] for other in pinned if other.account == job.account)
    if own > settings.pins_per_account:
        raise EchodError(
            "quota_exceeded",
            f"pinned clips of this account would take {own / MiB:.1f} MiB; pins_per_account is "
            f"{settings.pins_per_account / MiB:g} MiB. Unpin some (`echod unpin`), or have the setting raised",
        )
    if (total := sum(sizes.values())) > settings.clips_cap // 2:
        raise EchodError(
            "quota_exceeded",
            f"pinned clips of all accounts would take {total / MiB:.1f} MiB, more than half of clips_cap, "
            f"{settings.clips_cap / MiB:g} MiB: the other half is for clips that are not pinned. Unpin some "
            "(`echod unpin`), or have the setting raised",
        )
