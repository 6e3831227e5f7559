"""Traces as a collector gets them, decoded from what crossed the wire."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from echod.errors import ConfigurationError
from echod.jobs import life
from echod.jobs.job import Job
from echod.server.tracing import open_traces
from tests.drivers.asking import SECOND, until
from tests.drivers.talking import Talk
from tests.making.config import make_config
from tests.stand_ins.backend import gives
from tests.stand_ins.collector import Collector, Span
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import Inspector

NOTHING_IMPORTED = """
import sys
import echod.server.app, echod.server.tracing, echod.jobs.steps
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as running:
        yield running


@pytest.fixture
async def daemon(tmp_path: Path, collector: Collector) -> AsyncIterator[Daemon]:
    config = make_config(tmp_path, otlp_endpoint=f"http://{collector.address}")
    async with Daemon(config, Inspector()).run() as running:
        yield running


async def flushed(daemon: Daemon) -> None:
    assert daemon.traces is not None
    await asyncio.to_thread(daemon.traces.flush)


def names(spans: list[Span]) -> list[str]:
    return [span.name.removeprefix("echod.") for span in spans]


async def work(daemon: Daemon, *stages: str) -> Job:
    job = await daemon.hands.begin()
    for share, stage in enumerate(stages, 1):
        await daemon.desk.apply(job.id, life.Progressed(attempt=job.attempt, stage=stage, progress=share / 9))
    return job


async def test_a_job(daemon: Daemon, collector: Collector) -> None:
    """One trace, whose id is the job's: accepted, queued, attempts with their stages one within another, in order."""
    id = await daemon.submit()
    lost = await work(daemon, "face", "denoise")
    await daemon.desk.apply(id, life.Lost(1, stalled=False, reason="killed"))
    again = await work(daemon, "denoise", "decode", "denoise", "mux")
    await daemon.hands.grow(again, b"0")
    await daemon.hands.complete(again)
    await flushed(daemon)
    assert lost.id == again.id == id
    trace = id.removeprefix("video_")
    [root] = collector.children(None, trace)
    assert (root.name, root.failed, root.said["echod.status"]) == ("echod.job", False, "completed")
    assert (root.said["echod.job"], root.said["echod.frames"], root.said["echod.engine"]) == (id, 36, "preview")
    inside = collector.children(root, trace)
    assert names(inside) == ["accept", "queue", "attempt", "queue", "attempt"]
    first, second = inside[2], inside[4]
    assert names(collector.children(first, trace)) == ["dispatch", "face", "denoise"]
    assert sorted(names(collector.children(second, trace))) == ["decode", "denoise", "dispatch", "mux"]
    assert (first.failed, first.said["echod.outcome"], second.said["echod.attempt"]) == (True, "queued", 2)
    assert second.events == ["first_frame"]
    for above in (root, first, second):
        for span in collector.children(above, trace):
            assert above.began <= span.began <= span.ended <= above.ended, (above.name, span.name)
    assert collector.services == {"echod"}


async def test_a_text_job_that_fails(daemon: Daemon, collector: Collector) -> None:
    """Speaking is a span of its own, before the queue; what failed says with which code."""
    daemon.backend.attempts = [gives(SECOND)]
    files = {"input_reference": ("p.png", b"a picture of a face")}
    answer = await daemon.http.post("/v1/videos", data={"prompt": "Good evening."}, files=files)
    await until(lambda: bool(len(daemon.desk.queue)))
    await daemon.hands.fail(await daemon.hands.begin(), "not_finite")
    await flushed(daemon)
    trace = answer.json()["id"].removeprefix("video_")
    [root] = collector.children(None, trace)
    assert names(collector.children(root, trace)) == ["accept", "speak", "queue", "attempt"]
    assert (root.failed, root.said["echod.error"]) == (True, "not_finite")
    assert "Good evening." not in str(collector.spans)


async def test_a_turn(daemon: Daemon, collector: Collector) -> None:
    """One trace: heard, replied, spoken, one after another."""
    daemon.backend.attempts = [gives("What time is it?"), gives("Noon."), gives(SECOND)]
    async with (
        AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key="none") as client,
        client.realtime.connect(model="auto") as connection,
    ):
        talk = Talk(connection)
        await talk.push_to_talk()
        await talk.say(SECOND)
        await talk.done()
    await flushed(daemon)
    [root] = [span for span in collector.spans if span.name == "echod.turn"]
    assert root.said == {"echod.account": "local", "echod.status": "completed"}
    assert names(collector.children(root, root.trace)) == ["hear", "reply", "speak"]


def test_nothing_is_imported_otherwise() -> None:
    """A daemon without the setting loads no SDK and no exporter; the API, where it is installed, is FastAPI's doing."""
    told = subprocess.run([sys.executable, "-c", NOTHING_IMPORTED], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is a refusal to start, with the command that brings it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'echod\[otel\]'"):
        open_traces("http://127.0.0.1:4318")


async def test_nobody_collects(tmp_path: Path) -> None:
    """A collector that is not there holds up neither jobs nor the daemon's end."""
    config = make_config(tmp_path, otlp_endpoint="http://127.0.0.1:1")
    async with Daemon(config, Inspector()).run() as daemon:
        await daemon.submit()
        await daemon.hands.complete(await daemon.hands.begin())
