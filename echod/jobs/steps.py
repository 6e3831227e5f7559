"""When what happened to a job: gathered from the feed while it lives, told once it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from echod.jobs.feed import PROGRESS, FeedEvent
from echod.jobs.job import Job


@dataclass
class Stretch:
    """A stage of an attempt: from when it was first at it to when it last left it, and how long it was at it."""

    began: float
    ended: float
    busy: float = 0.0


@dataclass
class Attempt:
    """An attempt. `worked` is when its worker first said so; `outcome` is the job's status after it."""

    number: int
    device: str | None
    began: float
    worked: float | None = None
    playable: float | None = None
    ended: float | None = None
    outcome: str = ""
    stages: dict[str, Stretch] = field(default_factory=dict)
    stage: str | None = None
    _since: float = 0.0  # it is at it

    def enter(self, stage: str | None, now: float) -> None:
        if self.stage and (left := self.stages.get(self.stage)):
            left.busy += max(0.0, now - self._since)
            left.ended = now
        self.stage, self._since = stage, now
        if stage:
            self.stages.setdefault(stage, Stretch(now, now))


@dataclass
class Steps:
    """A job's. `waits` are those in the queue, from when to when."""

    accepted: float | None = None
    spoken: float | None = None
    waiting_since: float | None = None
    waits: list[tuple[float, float]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def take(self, event: FeedEvent) -> None:
        job, now = event.job, event.ts
        attempt = self.attempts[-1] if self.attempts and self.attempts[-1].ended is None else None
        if event.type == "job.queued":
            self._queued(job, attempt, now)
        elif event.type == "job.started":
            if self.waiting_since is not None:
                self.waits.append((self.waiting_since, now))
            self.waiting_since = None
            self.attempts.append(Attempt(job.attempt, job.device, now))
        elif attempt and event.type == "job.first_frame":
            attempt.playable = now
        elif attempt and event.type == PROGRESS and job.stage:
            attempt.worked = attempt.worked or now
            if job.stage != attempt.stage:
                attempt.enter(job.stage, now)
        elif job.terminal:
            _end(attempt, job, now)
            if self.waiting_since is not None:
                self.waits.append((self.waiting_since, now))

    def _queued(self, job: Job, attempt: Attempt | None, now: float) -> None:
        if attempt:
            _end(attempt, job, now)
        if self.accepted is None and not self.attempts:
            self.accepted = now
        elif job.spoken and job.speak_ms is not None and self.spoken is None and not self.attempts:
            self.spoken = now
        if job.speech is not None:
            self.waiting_since = now


def _end(attempt: Attempt | None, job: Job, now: float) -> None:
    if attempt:
        attempt.enter(None, now)
        attempt.ended, attempt.outcome = now, job.status


class Watch:
    """`ended` is told of every job that ends from now on, with its steps. A listener of the feed: it must be quick."""

    def __init__(self, ended: Callable[[Job, Steps, float], None]) -> None:
        self._ended = ended
        self._jobs: dict[str, Steps] = {}

    def __call__(self, event: FeedEvent) -> None:
        steps = self._jobs.setdefault(event.job.id, Steps())
        steps.take(event)
        if event.job.terminal:
            del self._jobs[event.job.id]
            self._ended(event.job, steps, event.ts)
