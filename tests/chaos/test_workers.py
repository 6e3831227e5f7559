"""Workers that go wrong while others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from echod.errors import EchodError
from tests.drivers.bench import bench
from tests.stand_ins import engine as scripted
from tests.stand_ins import exiting

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

GOOD_JOBS = 20


async def test_poison_among_good_jobs(tmp_path: Path) -> None:
    """A job that kills its workers fails, once it has killed two; the others are made, and none is blamed for it."""
    async with bench(tmp_path, devices=2) as made:
        good = [await made.accept() for _ in range(GOOD_JOBS // 2)]
        poison = await made.accept(scripted.KILLED)
        good += [await made.accept() for _ in range(GOOD_JOBS // 2)]
        ended = [await made.ended(job) for job in good]
        assert [(job.status, job.attempt, job.deaths) for job in ended] == [("completed", 1, 0)] * GOOD_JOBS
        failed = await made.ended(poison)
        assert failed.error is not None
        assert (failed.status, failed.error.code, failed.attempt) == ("failed", "poison", 2)
        devices = await made.ready()
    print(f"jobs={GOOD_JOBS + 1} poison=1 restarts={sum(device.restarts for device in devices)}")


async def test_worker_that_eats_memory(tmp_path: Path) -> None:
    """A job that takes all memory fails after one more attempt; the same worker, alive, makes the next one."""
    async with bench(tmp_path) as made:
        greedy, good = await made.accept(scripted.GREEDY), await made.accept()
        failed = await made.ended(greedy)
        assert failed.error is not None
        assert (failed.status, failed.error.code, failed.attempt) == ("failed", "out_of_memory", 2)
        assert (await made.ended(good)).status == "completed"
        assert [device.restarts for device in await made.ready()] == [0]
    print("jobs=2 out_of_memory=1 restarts=0")


async def test_worker_that_exits_at_import(tmp_path: Path) -> None:
    """A worker that ends before its first word is tried five times, then its device has failed, and submits say why."""
    async with bench(tmp_path, main=exiting.main) as made:
        waiting = await made.accept()
        (device,) = await made.devices(lambda devices: devices[0].state == "failed")
        assert (device.restarts, device.reason) == (4, "exited with 3 while getting ready with preview")
        with pytest.raises(EchodError) as refused:
            await made.accept()
        assert refused.value.code == "no_device" and "exited with 3" in refused.value.message
        assert (await made.desk.find(waiting.id, None)).status == "queued"
    print("starts=5 queued=1")
