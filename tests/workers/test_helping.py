"""Who helps whom, and what the death of a helper costs: a fleet whose engine waits for the test."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from itertools import groupby
from pathlib import Path

from echod.jobs.job import BATCH, CONVERSATION, Job
from echod.workers.fleet import Fleet
from echod.workers.state import DeviceState
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


class Calls:
    """Who began which call, in order, as the scripted engine notes it."""

    def __init__(self, work: Bench) -> None:
        self.work = work
        self.notes, self.held = (work.desk.root.parent / name for name in ("calls", "held"))

    def begun(self) -> list[tuple[int, str]]:
        """The workers, and the jobs."""
        lines = map(str.split, self.notes.read_text().splitlines())
        return [(int(pid), job) for pid, job in lines]

    async def hold(self) -> int:
        """Have every worker stay in the call that it is in. Returns how many were begun by then."""
        before = len(self.begun())
        self.held.touch()
        workers = len(self.work.fleet.workers)
        while sum(job == "held" for _, job in self.begun()[before:]) < workers:  # noqa: ASYNC110  (other processes)
            await asyncio.sleep(0.002)
        return len(self.begun())

    async def sent(self, job: Job) -> int:
        """The process that has been sent it."""
        while True:
            for worker, device in zip(self.work.fleet.workers, self.work.fleet.devices(), strict=True):
                if worker.seat.sent and device.job == job.id and device.pid:
                    return device.pid
            await asyncio.sleep(0.002)

    async def before(self, pid: int, job: Job, since: int) -> int:
        """How many calls this worker began after those, before its first one for the job."""
        while (pid, job.id) not in (begun := self.begun()[since:]):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        return sum(worker == pid for worker, _ in begun[: begun.index((pid, job.id))])

    def shares(self) -> dict[int, list[str]]:
        """For which jobs each worker computed, one after the other."""
        begun = [(pid, job) for pid, job in self.begun() if job != "held"]
        return {pid: [job for job, _ in groupby(job for who, job in begun if who == pid)] for pid in dict(begun)}


def help_now(wanted: int, devices: list[DeviceState]) -> bool:
    """Whether so many help; whoever left for a job of its own means to go on afterwards."""
    return sum(device.state == "idle" and device.helping is not None for device in devices) == wanted


async def test_who_computes_what(tmp_path: Path) -> None:
    """Two jobs on four workers, a third, then a conversation for whoever still helps, then one on top of a batch job.

    A conversation waits for the call that its worker is in, and for no other; a worker is away from its own job for
    conversations alone.
    """
    async with bench(tmp_path, devices=4, main=scripted.helpful) as work, asyncio.timeout(60):
        await work.ready()
        calls, jobs, talks, owners = Calls(work), list[Job](), list[Job](), dict[int, str]()
        for helpers in (3, 2, 1):
            jobs.append(await running(work))
            await work.devices(functools.partial(help_now, helpers))
            owners[await calls.sent(jobs[-1])] = jobs[-1].id
        for suspended in (0, 1):
            began = await calls.hold()
            talks.append(talk := await work.accept(priority=CONVERSATION))
            pid = await calls.sent(talk)
            calls.held.unlink()
            assert await calls.before(pid, talk, began) <= 1  # sent while it was in a call, and perhaps not yet there
            assert sum(device.suspended is not None for device in work.fleet.devices()) == suspended
        for pid, share in calls.shares().items():
            own = [job for job in share if job == owners.get(pid)]
            helped = [job for job in share if job in owners.values() and job != owners.get(pid)]
            talked = [job for job in share if job in {talk.id for talk in talks}]
            assert share == [*helped, *own, *talked]
            assert (len(own), len(talked)) in ([(1, 0), (1, 1)] if pid in owners else [(0, 1)])
        for job in (*jobs, *talks):
            work.open_gate(job)
        assert {(await work.ended(job)).attempt for job in (*jobs, *talks)} == {1}


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
