"""Counters that are fed by the feed, and the view of the present."""

from __future__ import annotations

import asyncio
import os

import msgspec
import pytest

from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs.feed import Feed, FeedEvent
from echod.jobs.job import CONVERSATION, Job, JobFailure
from echod.server.metrics import Metrics
from echod.server.present import Present
from echod.workers.state import Cluster, DeviceState, Node


def job(**fields: object) -> Job:
    portrait = PortraitFacts(width=1, height=1, faces=1, box=None, sha256="p")
    speech = SpeechFacts(seconds=1, rate=16000, channels=1, sha256="s")
    made = Job(id="video_1", account="local", engine="preview", portrait=portrait, speech=speech, created_at=0)
    for name, value in fields.items():
        made = msgspec.structs.replace(made, **{name: value})
    return made


NOW = Present(
    queued=3, queue_limit=256, watchers=2, devices=[], stored=5000, clips_cap=9000, disk_free=70, disk_total=90,
    min_free=10,
)  # fmt: skip


def metrics(devices: list[DeviceState] | None = None, cluster: Cluster | None = None) -> Metrics:
    return Metrics(lambda: NOW._replace(devices=devices or [], cluster=cluster))


def value(counted: Metrics, name: str, **labels: str) -> float | None:
    return counted.registry.get_sample_value(name, labels)


def test_ended_jobs_are_counted_by_status_and_code() -> None:
    """Every end of a job is one count, and only completed ones are timed."""
    counted = metrics()
    counted.finished(
        job(
            status="completed", started_at=10.0, finished_at=12.0, frames=48, timings_ms={"decode": 1500, "total": 1600}
        )
    )
    counted.finished(job(status="completed", windows_total=24, windows_resumed=17))
    counted.finished(job(status="failed", started_at=10.0, finished_at=99.0, error=JobFailure("poison", "why")))
    assert value(counted, "echod_jobs_total", engine="preview", status="completed", code="") == 2
    assert value(counted, "echod_jobs_total", engine="preview", status="failed", code="poison") == 1
    resumed = [value(counted, f"echod_{what}_resumed_total", engine="preview") for what in ("jobs", "windows")]
    assert resumed == [1, 17]
    assert value(counted, "echod_job_seconds_sum", engine="preview") == 2.0
    assert value(counted, "echod_frames_total", engine="preview") == 48
    assert value(counted, "echod_stage_seconds_sum", engine="preview", stage="decode") == 1.5
    assert value(counted, "echod_stage_seconds_sum", engine="preview", stage="total") is None


def told(counted: Metrics, type_: str, ts: float = 0.0, **fields: object) -> None:
    counted.happened(FeedEvent(type_, 1, ts, job(**fields)))


def test_waits() -> None:
    """A job's wait begins with its acceptance, or with the end of speaking, and both its waits count once."""
    counted = metrics()
    for attempt, at in ((1, 10.0), (2, 99.0)):
        told(counted, "job.started", status="in_progress", attempt=attempt, started_at=at, speak_ms=4000)
        told(counted, "job.first_frame", ts=at + 2, attempt=attempt)
    batch = {"engine": "preview", "kind": "batch"}
    assert value(counted, "echod_queue_seconds_sum", **batch) == 6.0
    assert value(counted, "echod_first_frame_seconds_sum", **batch) == 12.0
    told(counted, "job.started", attempt=1, started_at=3.0, priority=CONVERSATION)
    assert value(counted, "echod_queue_seconds_sum", engine="preview", kind="conversation") == 3.0


def test_window_calls() -> None:
    """Each is counted once: not again by later events, nor by an attempt that goes on from it, nor after a restart."""
    counted = metrics()
    told(counted, "job.snapshot", id="video_0", attempt=1, windows_done=30, windows_total=40)
    told(counted, "job.progress", id="video_0", attempt=1, windows_done=33, windows_total=40)
    assert value(counted, "echod_window_calls_total", engine="preview") == 3
    for done in (4, 4, 9):
        told(counted, "job.progress", attempt=1, windows_done=done, windows_total=20)
    told(counted, "job.queued", attempt=1)
    told(counted, "job.progress", attempt=2, windows_done=10, windows_resumed=9, windows_total=20)
    told(counted, "job.completed", status="completed", attempt=2, windows_done=20, windows_resumed=9, windows_total=20)
    assert value(counted, "echod_window_calls_total", engine="preview") == 3 + 20


async def test_following_the_feed() -> None:
    """Jobs that end are counted once; snapshots and progress are not."""
    feed = Feed(1, lambda: [job(id="video_2", status="completed")])
    counted = metrics()
    following = asyncio.create_task(counted.follow(feed))
    await asyncio.sleep(0)
    feed.publish("job.progress", job(status="in_progress"))
    feed.publish("job.completed", job(status="completed"))
    while value(counted, "echod_jobs_total", engine="preview", status="completed", code="") != 1:
        await asyncio.wait([following], timeout=0.001)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert not feed.watchers


def test_the_present() -> None:
    """Queue, watchers, workers and version are what they are at this moment."""
    device = DeviceState(
        worker=1, device="cuda:0", state="busy", epoch=4, pid=os.getpid(), job=None, suspended=None, helping=None,
        helped=7, helps=[], shares=[], numbers={}, computed={}, engines=[], exact={}, restarts=3,
        loads=1, reason=None, cuda_visible_devices="0", torch_imported_at_hello=False,
        deaths={"stalled": 2, "killed": 1}, memory={"taken": 40, "size": 80},
    )  # fmt: skip
    text = metrics([device]).render().decode()
    for line in (
        "echod_queue_jobs 3.0",
        "echod_event_watchers 2.0",
        'echod_worker_state{device="cuda:0",state="busy",worker="1"} 1.0',
        'echod_worker_state{device="cuda:0",state="idle",worker="1"} 0.0',
        'echod_worker_restarts_total{device="cuda:0",reason="stalled",worker="1"} 2.0',
        'echod_worker_restarts_total{device="cuda:0",reason="killed",worker="1"} 1.0',
        'echod_worker_restarts_total{device="cuda:0",reason="exited",worker="1"} 0.0',
        'echod_device_memory_bytes{device="cuda:0",kind="taken",worker="1"} 40.0',
        "echod_stored_bytes 5000.0",
        "echod_disk_free_bytes 70.0",
        'echod_helped_calls_total{device="cuda:0",worker="1"} 7.0',
    ):
        assert line in text.splitlines()
    resident = value(metrics([device]), "echod_worker_resident_bytes", worker="1", device="cuda:0")
    assert resident is not None and resident > 2**20


def test_a_cluster() -> None:
    """Whether it can be reached, its nodes, and on which of them each worker is: its pid is none of here."""
    device = DeviceState(
        worker=1, device="ray", state="busy", epoch=4, pid=os.getpid(), job=None, suspended=None, helping=None,
        helped=0, helps=[], shares=[], numbers={}, computed={}, engines=[], exact={}, restarts=3,
        loads=1, reason=None, cuda_visible_devices="0", torch_imported_at_hello=False, node="box-1",
    )  # fmt: skip
    known = Cluster(address="auto", nodes=[Node(name="box-1"), Node(name="box-2", state="draining")])
    text = metrics([device], known).render().decode()
    for line in (
        "echod_cluster_up 1.0",
        'echod_cluster_nodes{state="draining"} 1.0',
        'echod_worker_node{device="ray",node="box-1",worker="1"} 1.0',
    ):
        assert line in text.splitlines()
    assert "echod_worker_resident_bytes{" not in text
    assert "echod_cluster_up 0.0" in metrics([], msgspec.structs.replace(known, problem="gone")).render().decode()
    assert "cluster" not in metrics([device]).render().decode()
