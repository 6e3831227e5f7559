"""Counters that are fed by the feed, and the view of the present."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs.feed import Feed
from echod.jobs.job import Job, JobFailure
from echod.server.metrics import Metrics
from echod.workers.state import DeviceState


def job(**fields: object) -> Job:
    portrait = PortraitFacts(width=1, height=1, faces=1, box=None, sha256="p")
    speech = SpeechFacts(seconds=1, rate=16000, channels=1, sha256="s")
    made = Job(id="video_1", account="local", engine="preview", portrait=portrait, speech=speech, created_at=0)
    for name, value in fields.items():
        made = msgspec.structs.replace(made, **{name: value})
    return made


def metrics(devices: list[DeviceState] | None = None) -> Metrics:
    return Metrics(queued=lambda: 3, watchers=lambda: 2, devices=lambda: devices or [])


def test_ended_jobs_are_counted_by_status_and_code() -> None:
    """Every end of a job is one count, and only completed ones are timed."""
    counted = metrics()
    counted.finished(
        job(status="completed", started_at=10.0, finished_at=12.0, timings_ms={"decode": 1500, "total": 1600})
    )
    counted.finished(job(status="completed", windows_total=24, windows_resumed=17))
    counted.finished(job(status="failed", started_at=10.0, finished_at=99.0, error=JobFailure("poison", "why")))
    value = counted.registry.get_sample_value
    assert value("echod_jobs_total", {"status": "completed", "code": ""}) == 2
    assert value("echod_jobs_total", {"status": "failed", "code": "poison"}) == 1
    assert (value("echod_jobs_resumed_total"), value("echod_windows_resumed_total")) == (1, 17)
    assert value("echod_job_seconds_sum") == 2.0
    assert value("echod_stage_seconds_sum", {"stage": "decode"}) == 1.5
    assert value("echod_stage_seconds_sum", {"stage": "total"}) is None


async def test_following_the_feed() -> None:
    """Jobs that end are counted once; snapshots and progress are not."""
    feed = Feed(1, lambda: [job(id="video_2", status="completed")])
    counted = metrics()
    following = asyncio.create_task(counted.follow(feed))
    await asyncio.sleep(0)
    feed.publish("job.progress", job(status="in_progress"))
    feed.publish("job.completed", job(status="completed"))
    while counted.registry.get_sample_value("echod_jobs_total", {"status": "completed", "code": ""}) != 1:
        await asyncio.wait([following], timeout=0.001)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert not feed.watchers


def test_the_present() -> None:
    """Queue, watchers, workers and version are what they are at this moment."""
    device = DeviceState(
        worker=1, device="cuda:0", state="busy", epoch=4, pid=7, job=None, suspended=None, helping=None,
        helped=7, helps=[], shares=[], numbers={}, computed={}, engines=[], exact={}, restarts=3,
        loads=1, reason=None, cuda_visible_devices="0", torch_imported_at_hello=False,
    )  # fmt: skip
    text = metrics([device]).render().decode()
    for line in (
        "echod_queue_jobs 3.0",
        "echod_event_watchers 2.0",
        'echod_worker_state{device="cuda:0",state="busy",worker="1"} 1.0',
        'echod_worker_state{device="cuda:0",state="idle",worker="1"} 0.0',
        'echod_worker_restarts_total{device="cuda:0",worker="1"} 3.0',
        'echod_helped_calls_total{device="cuda:0",worker="1"} 7.0',
    ):
        assert line in text.splitlines()
