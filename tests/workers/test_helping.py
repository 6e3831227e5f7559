"""Who helps whom, and what the death of a helper costs: a fleet whose engine waits for the test."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from echod.jobs.job import BATCH, CONVERSATION, Job
from echod.workers.fleet import Fleet
from tests.drivers.bench import Bench, bench
from tests.stand_ins import engine as scripted


async def running(work: Bench, priority: int = BATCH) -> Job:
    """A job that has begun, and waits for its gate."""
    return await work.until(await work.accept(priority=priority), lambda job: job.windows_total > 0)


async def finish(work: Bench, job: Job) -> Job:
    work.open_gate(job)
    return await work.ended(job)


async def test_an_idle_worker_helps(tmp_path: Path) -> None:
    """It says with what, its calls are counted, and the job has both devices."""
    async with bench(tmp_path, devices=2, main=scripted.helpful) as work:
        await work.ready()
        assert [(device.device, device.helps) for device in work.fleet.devices()] == [
            ("cpu", ["cpu#2"]), ("cpu#2", ["cpu"]),
        ]  # fmt: skip
        job = await running(work)
        devices = await work.devices(lambda devices: any(device.helping for device in devices))
        assert sorted((device.state, device.helping) for device in devices) == [("busy", None), ("idle", job.id)]
        owner, helper = sorted(devices, key=lambda device: device.state == "idle")
        assert work.desk.helpers(job.id) == [helper.device]
        job = await finish(work, job)
        assert (job.status, job.device, job.devices) == ("completed", owner.device, (owner.device, helper.device))
        await work.devices(lambda devices: [device.helping for device in devices] == [None, None])
        assert [device.device for device in work.fleet.devices() if device.helped] == [helper.device]


async def test_who_can_help_whom(tmp_path: Path) -> None:
    """Workers of the same numbers, whatever else they have in common; each has a name of its own."""
    async with bench(tmp_path, devices=0) as work:
        fleet = Fleet(work.desk.settings, work.desk, ("cuda:0", "cpu", "cpu", "cpu", "cuda:1"))
        for worker, numbers in zip(fleet.workers, ("", "x4", "x4", "x2", ""), strict=True):
            worker.numbers = {"echomimic": numbers} if numbers else {}
        assert {device.device: device.helps for device in fleet.devices()} == {
            "cuda:0": [], "cpu": ["cpu#2"], "cpu#2": ["cpu"], "cpu#3": [], "cuda:1": [],
        }  # fmt: skip


async def test_whoever_helps_takes_the_next_job_at_once(tmp_path: Path) -> None:
    """A job does not wait for the end of what its worker helps with, and afterwards that goes on."""
    async with bench(tmp_path, devices=2, main=scripted.helpful) as work:
        await work.ready()
        first = await running(work)
        await work.devices(lambda devices: any(device.helping == first.id for device in devices))
        second = await running(work)
        assert {device.job for device in work.fleet.devices()} == {first.id, second.id}
        assert (await finish(work, second)).status == "completed"
        assert [device.helping for device in work.fleet.devices() if device.state == "idle"] == [first.id]
        assert (await finish(work, first)).attempt == 1


async def test_conversations_are_helped_first(tmp_path: Path) -> None:
    """Of two jobs that run, an idle worker helps with the one that somebody listens to."""
    async with bench(tmp_path, devices=3, main=scripted.helpful) as work:
        await work.ready()
        batch = await running(work)
        await work.devices(lambda devices: sum(device.helping == batch.id for device in devices) == 2)
        talk = await running(work, CONVERSATION)
        await finish(work, batch)
        await work.devices(lambda devices: sum(device.helping == talk.id for device in devices) == 2)
        await finish(work, talk)


async def test_helpers_that_die(tmp_path: Path) -> None:
    """No attempt is lost with them, and what they did is told; after two deaths the job runs alone."""
    async with bench(tmp_path, devices=2, main=scripted.helpful) as work:
        await work.ready()
        job = await running(work)
        for helped in (3, 6):
            devices = await work.devices(
                lambda devices, helped=helped: any(device.helping and device.helped == helped for device in devices)  # type: ignore[misc]
            )
            (pid,) = (device.pid for device in devices if device.helping)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await work.devices(lambda devices, gone=pid: gone not in {device.pid for device in devices})  # type: ignore[misc]
        await work.devices(lambda devices: {device.state for device in devices} == {"busy", "idle"})
        assert not any(device.helping for device in work.fleet.devices())
        job = await finish(work, job)
        assert (job.status, job.attempt, job.deaths, set(job.devices)) == ("completed", 1, 0, {"cpu", "cpu#2"})
        assert sorted(device.helped for device in work.fleet.devices()) == [0, 6]
