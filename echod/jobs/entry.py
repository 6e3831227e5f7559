"""A job that lives, and how its steps are told."""

from __future__ import annotations

import asyncio

from echod.jobs import life
from echod.jobs.feed import PROGRESS
from echod.jobs.job import Job

EVENT_TYPES: dict[type, str] = {
    life.Dispatched: "job.started",
    life.Progressed: PROGRESS,
    life.FirstFrame: "job.first_frame",
    life.CancelRequested: PROGRESS,
    life.Helped: PROGRESS,
}


class Entry:
    """A job that has not ended, or whose end is being committed."""

    def __init__(self, job: Job, place: int) -> None:
        self.job = self.shown = job
        self.place = place  # in the order of acceptance: a wall clock may jump
        self.began: float | None = None  # its running attempt, in the desk's ticks
        self.ended = asyncio.Event()
        self.turn = asyncio.Lock()  # steps are committed one after another: an old one must not undo a newer one


def told(event: life.Event, job: Job, seconds: float) -> str:
    """A step in the words of the log."""
    if isinstance(event, life.Helped):
        return f"helped by {event.device}"
    if job.status == "completed" and job.frames:
        return f"completed in {seconds:.1f} s, {job.frames / max(seconds, 0.001):.1f} frames/s"
    return "cancelling" if job.status == "in_progress" and job.cancel_requested else job.status
