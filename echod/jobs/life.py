"""What a job is and how it moves: pure values, no I/O.

    queued --Dispatched--> in_progress --Done--> completed
      |^                        |------Failed--> failed, or queued again while retries are left
      ||<-- Lost, Requeued -----+
      |+------ Cancelled, from either ---------> cancelled
      +-- of a text job: Spoken --> queued still, and now with speech; Unspoken --> failed

`advance(job, event, now)` is the only way a job changes status. An event of another attempt leaves the job as it is,
and so does every event after a terminal status: whatever arrives late, a job ends once. Tagged events are those that
workers report.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec.structs import replace

from echod.inspection.facts import SpeechFacts
from echod.jobs.job import Job, JobFailure, Status

MAX_EXCEPTIONS = 3  # attempts that may end in a transient exception of a living worker
MAX_DEATHS = 2  # workers that may die under one job

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Spoken(msgspec.Struct, frozen=True):
    """The words of a text job have become speech, in `ms` milliseconds."""

    speech: SpeechFacts
    ms: int


class Unspoken(msgspec.Struct, frozen=True):
    """The words of a text job cannot be spoken."""

    code: str
    message: str


class Dispatched(msgspec.Struct, frozen=True):
    """Sent to a worker, which computes in `dtype`: the next attempt begins."""

    device: str
    dtype: str | None = None
    approximation: str | None = None


class Progressed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Work done by the running attempt; `progress` is the share of all work, 0..1."""

    attempt: int
    stage: str
    progress: Annotated[float, msgspec.Meta(ge=0, le=1.01)]  # a sum may be a little more than 1
    windows_done: Count = 0
    windows_total: Count = 0


class FirstFrame(msgspec.Struct, frozen=True, tag=True):
    """The growing clip holds its first fragment: it can be played from its beginning."""

    attempt: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The clip is published: `clip.mp4` is in place and synced."""

    attempt: int
    frames: Count
    crop: tuple[int, int, int, int]
    faces: Count
    unsigned: str | None = None
    timings_ms: dict[str, int]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The attempt raised; `transient` ones are tried again, and so is the first `out_of_memory`."""

    attempt: int
    code: str
    message: str
    transient: bool = False


class Lost(msgspec.Struct, frozen=True):
    """The worker died while it ran this attempt."""

    attempt: int
    stalled: bool
    reason: str


class Helped(msgspec.Struct, frozen=True):
    """Another device has computed some of the clip."""

    device: str


class Requeued(msgspec.Struct, frozen=True):
    """The attempt ended through nobody's fault: suspended under a death, a drain, the daemon's own end."""

    attempt: int


class CancelRequested(msgspec.Struct, frozen=True):
    """Somebody wants the job to end; a running attempt ends at its next checkpoint."""


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The job ended because somebody asked for it, or nobody waits for it any more."""

    message: str = "cancelled on request"


Event: TypeAlias = (
    Spoken
    | Unspoken
    | Dispatched
    | Progressed
    | FirstFrame
    | Done
    | Failed
    | Lost
    | Helped
    | Requeued
    | CancelRequested
    | Cancelled
)


def advance(job: Job, event: Event, now: float) -> Job:
    """The job after `event`; the same object if the event does not concern it."""
    if job.terminal:
        return job
    attempt = getattr(event, "attempt", None)
    if attempt is not None and (job.status != "in_progress" or attempt != job.attempt):
        return job
    match event:
        case Spoken(speech=speech, ms=ms):
            return job if job.speech else replace(job, speech=speech, speak_ms=ms, stage=None)
        case Unspoken(code=code, message=message):
            return job if job.speech else _ended(job, "failed", now, JobFailure(code, message))
        case Dispatched():
            return _dispatched(job, event, now)
        case Progressed():
            return _progressed(job, event)
        case FirstFrame():
            return replace(job, streaming=True)
        case Done():
            return _done(job, event, now)
        case Failed():
            return _failed(job, event, now)
        case Lost():
            return _lost(job, event, now)
        case Helped(device=device):
            return job if device in job.devices else replace(job, devices=(*job.devices, device))
        case Requeued():
            return _again(job, now)
        case CancelRequested():
            return replace(job, cancel_requested=True)
        case Cancelled(message=message):
            return _ended(job, "cancelled", now, JobFailure("cancelled", message))


def _dispatched(job: Job, event: Dispatched, now: float) -> Job:
    if job.status != "queued" or job.speech is None:
        return job
    began = max(now, job.created_at)  # whatever the clock did meanwhile
    devices = tuple(dict.fromkeys((*job.devices, event.device)))
    job = replace(job, status="in_progress", attempt=job.attempt + 1, devices=devices, started_at=began)
    job = replace(job, device=event.device, dtype=event.dtype, approximation=event.approximation)
    return replace(job, **_FRESH)


# What an attempt leaves behind must not show in the next one. Its progress does until that has said where it begins.
_FRESH: dict[str, Any] = {
    "stage": None, "share": 0.0, "share_resumed": 0.0, "windows_done": 0, "windows_total": 0,
    "streaming": False, "timings_ms": {},
}  # fmt: skip


def _progressed(job: Job, event: Progressed) -> Job:
    if event.windows_total and not job.windows_total:  # the first word on windows: how many were there already
        job = replace(job, windows_resumed=event.windows_done)
        job = replace(job, share_resumed=event.progress) if event.windows_done else replace(job, progress=0.0)
    return replace(
        job,
        stage=event.stage,
        progress=min(max(job.progress, event.progress), 0.99),
        share=event.progress,
        windows_done=event.windows_done,
        windows_total=event.windows_total,
    )


def _done(job: Job, event: Done, now: float) -> Job:
    return replace(
        _ended(job, "completed", now, None),
        progress=1.0,
        windows_done=job.windows_total,
        frames=event.frames,
        crop=event.crop,
        faces=event.faces,
        unsigned=event.unsigned,
        timings_ms={**({} if job.speak_ms is None else {"speak": job.speak_ms}), **event.timings_ms},
    )


def _failed(job: Job, event: Failed, now: float) -> Job:
    failure = JobFailure(event.code, event.message)
    if event.code == "out_of_memory" and job.out_of_memory == 0:
        return _again(replace(job, out_of_memory=1), now)
    if event.transient and job.exceptions + 1 < MAX_EXCEPTIONS:
        return _again(replace(job, exceptions=job.exceptions + 1), now)
    return _ended(job, "failed", now, failure)


def _lost(job: Job, event: Lost, now: float) -> Job:
    deaths = job.deaths + 1
    job = replace(job, deaths=deaths)
    if deaths < MAX_DEATHS or job.cancel_requested:
        return _again(job, now)
    if event.stalled:
        failure = JobFailure("stalled", f"the worker made no progress and was ended, {deaths} times: {event.reason}")
    else:
        failure = JobFailure("poison", f"the worker died under this job {deaths} times: {event.reason}")
    return _ended(job, "failed", now, failure)


def _again(job: Job, now: float) -> Job:
    if job.cancel_requested:
        return advance(job, Cancelled(), now)
    # The device stays as a note: a job that lost its worker goes to another device if there is one.
    return replace(job, status="queued", **_FRESH)


def _ended(job: Job, status: Status, now: float, error: JobFailure | None) -> Job:
    ended = max(now, job.started_at or job.created_at)
    return replace(job, status=status, finished_at=ended, error=error, stage=None, streaming=False)
