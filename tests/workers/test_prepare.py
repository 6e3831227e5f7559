"""Portraits that workers keep warm. The scripted engine counts what it prepares and shows it as a job's faces."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs.job import ClipOptions, Draft, Job
from echod.workers import messages
from tests.drivers.bench import TIMEOUT, Bench, bench
from tests.making.media import write_picture
from tests.stand_ins import engine as scripted


def order(bench: Bench, name: str, width: int = 64, size: int = 128) -> messages.Prepare:
    path = write_picture(bench.inputs / f"{name}.png", width)
    options = ClipOptions(width=size, height=size)
    return messages.Prepare(engine="preview", portrait=str(path), portrait_sha256=name, box=None, options=options)


async def accept(bench: Bench, portrait: str, seed: int = scripted.GOOD) -> Job:
    """A job with a portrait of this name."""
    return await bench.desk.accept(
        Draft(
            account="a",
            portrait=PortraitFacts(width=64, height=48, faces=1, box=None, sha256=portrait),
            portrait_file=bench.inputs / "portrait.png",
            speech=SpeechFacts(seconds=0.5, rate=16000, channels=1, sha256="s"),
            speech_file=bench.inputs / "speech.flac",
            options=ClipOptions(width=128, height=128, fps=10, seed=seed),
        )
    )


async def warm(bench: Bench, count: int) -> None:
    """Until every worker is done with so many portraits."""
    async with asyncio.timeout(TIMEOUT):
        while any(len(worker.seat.prepared) < count for worker in bench.fleet.workers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_first_job_of_a_warm_portrait(one: Bench) -> None:
    """It starts without face work: the engine is not asked again, and the stage takes no time."""
    await one.ready()
    one.fleet.portraits.prepare([order(one, "first"), order(one, "second")])
    await warm(one, 2)
    for portrait, prepared in (("second", 2), ("first", 1), ("cold", 3)):
        job = await one.ended(await accept(one, portrait))
        assert (job.status, job.faces) == ("completed", prepared)
        if portrait != "cold":
            assert job.timings_ms["face"] == 0


async def test_another_size(one: Bench) -> None:
    """A portrait is warm for one size."""
    await one.ready()
    one.fleet.portraits.prepare([order(one, "first", size=256)])
    await warm(one, 1)
    assert (await one.ended(await accept(one, "first"))).faces == 2


async def test_before_ready(tmp_path: Path) -> None:
    """Workers that still load prepare when they are ready, all of them."""
    async with bench(tmp_path, devices=2) as two:
        two.fleet.portraits.prepare([order(two, "first")])
        await warm(two, 1)
        assert (await two.ended(await accept(two, "first"))).faces == 1


async def test_next_incarnation(one: Bench) -> None:
    """A worker that took a dead one's place prepares everything again."""
    one.fleet.portraits.prepare([order(one, "first"), order(one, "second")])
    await warm(one, 2)
    (device,) = one.fleet.devices()
    assert device.pid
    os.kill(device.pid, signal.SIGKILL)
    await one.devices(lambda devices: devices[0].epoch == 2)
    await warm(one, 2)
    assert (await one.ended(await accept(one, "second"))).faces == 2


async def test_busy_worker(one: Bench) -> None:
    """A busy worker prepares after its job, before the next one."""
    await one.ready()
    running = await accept(one, "cold", scripted.GATED)
    await one.file(running, "waiting")
    one.fleet.portraits.prepare([order(one, "first")])
    waiting = await accept(one, "first")
    one.open_gate(running)
    assert (await one.ended(running)).faces == 1
    done = await one.ended(waiting)
    assert (done.faces, done.timings_ms["face"]) == (2, 0)


async def test_one_that_cannot_be_prepared(one: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A portrait that is gone or unreadable is told of and left; the others are prepared, the worker lives."""
    gone = order(one, "gone")
    Path(gone.portrait).unlink()
    one.fleet.portraits.prepare([gone, order(one, "first")])
    await warm(one, 2)
    assert (await one.ended(await accept(one, "first"))).faces == 1
    assert one.fleet.devices()[0].epoch == 1
    assert "could not be prepared" in caplog.text


async def test_deadly_portrait(one: Bench) -> None:
    """A portrait under which two workers died is left alone, and no job is blamed for their deaths."""
    await one.ready()
    deadly = order(one, "deadly", scripted.DEADLY_WIDTH)
    one.fleet.portraits.prepare([deadly, order(one, "first")])
    job = await one.ended(await accept(one, "first"))
    assert (job.status, job.deaths) == ("completed", 0)
    await warm(one, 1)
    (device,) = await one.ready()
    assert device.epoch == 3
    assert (await one.ended(await accept(one, "first"))).faces == job.faces
