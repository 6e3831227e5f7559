"""Jobs, and what becomes of them."""

from __future__ import annotations

import msgspec

from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs import life
from echod.jobs.job import Job
from echod.jobs.life import advance


def job(**fields: object) -> Job:
    facts: dict[str, object] = {
        "id": "video_1",
        "account": "local",
        "engine": "preview",
        "portrait": PortraitFacts(width=8, height=8, faces=1, box=None, sha256="p"),
        "speech": SpeechFacts(seconds=1.0, rate=16000, channels=1, sha256="s"),
        "created_at": 100.0,
    }
    return msgspec.convert({**msgspec.to_builtins(Job(**(facts | fields)))}, Job)  # type: ignore[arg-type]


def after(start: Job, *events: life.Event) -> Job:
    for event in events:
        start = advance(start, event, 200.0)
    return start


def running(**fields: object) -> Job:
    return after(job(**fields), life.Dispatched("cpu"))


def done(attempt: int = 1) -> life.Done:
    return life.Done(attempt=attempt, frames=12, crop=(0, 0, 1, 1), faces=1, timings_ms={})
