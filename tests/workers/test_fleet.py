from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from echod.config import Settings
from echod.errors import EchodError
from echod.jobs.desk import Desk
from echod.jobs.job import CONVERSATION, Job
from echod.journal import Journal
from echod.workers import reports
from echod.workers.fleet import Fleet
from echod.workers.seat import Seat
from echod.workers.spec import worker_spec
from tests.drivers.bench import TIMEOUT, Bench, bench
from tests.making.config import make_config
from tests.making.media import write_picture, write_wav
from tests.stand_ins import engine as scripted


async def test_a_clip_that_outgrows_the_quota(tmp_path: Path) -> None:
    """The job fails with quota_exceeded and the setting's name; the worker goes on, and nothing of the clip is left."""
    inputs = sum(
        write(tmp_path / name).stat().st_size for write, name in ((write_picture, "in.png"), (write_wav, "in.wav"))
    )
    async with bench(tmp_path, disk_per_account=inputs + 1000) as work:
        [device] = await work.ready()
        job = await work.ended(await work.accept())
        assert job.error is not None
        assert (job.status, job.error.code, job.attempt) == ("failed", "quota_exceeded", 1)
        assert "1000 bytes" in job.error.message and "disk_per_account" in job.error.message
        assert {path.name for path in work.desk.directory(job.id).iterdir()} <= {
            "portrait.png",
            "speech.flac",
            "thumbnail.jpg",
        }
        assert (await work.ready())[0].pid == device.pid
        work.desk.settings.now = make_config(tmp_path)
        assert (await work.ended(await work.accept())).status == "completed"


async def test_first_report_and_one_load(one: Bench) -> None:
    """A worker says where it is pinned before it imports torch; two jobs later its engines were loaded once."""
    (device,) = await one.ready()
    assert (device.cuda_visible_devices, device.torch_imported_at_hello) == ("", False)
    for _ in range(2):
        assert (await one.ended(await one.accept())).status == "completed"
    (device,) = one.fleet.devices()
    assert (device.loads, device.epoch, device.restarts) == (1, 1, 0)


async def test_kernels_that_cannot_be_compiled(tmp_path: Path) -> None:
    """Compiling is shown while it lasts; a worker that cannot goes without, says why, and has not died."""
    held = tmp_path / "state" / "held"
    held.parent.mkdir()
    held.touch()
    async with bench(tmp_path, main=scripted.uncompiled) as one:
        (device,) = await one.devices(lambda devices: "compiling" in (devices[0].doing or ""))
        assert (device.state, device.kernels) == ("starting", None)
        held.unlink()
        (device,) = await one.ready()
        assert device.kernels == "not compiled, clips take longer: RuntimeError: Failed to find C compiler"
        assert (device.doing, device.restarts, device.reason) == (None, 0, None)
        assert device.memory == {"taken": 4, "peak": 5, "free": 70, "size": 80}
        assert (await one.ended(await one.accept())).status == "completed"


async def test_signs_of_life_are_no_news(tmp_path: Path) -> None:
    """What a worker that is ready says many times a second wakes nobody; what one does at its start does once."""
    async with bench(tmp_path) as one:
        await one.ready()
        (worker,) = one.fleet.workers
        assert not worker.is_doing("wait")
        ready, worker.seat = worker.seat, Seat()
        assert [worker.is_doing(what) for what in ("compiling", "compiling", "loading")] == [True, False, True]
        worker.seat = ready


def test_compile_off(tmp_path: Path) -> None:
    """Workers are given a place for kernels unless `compile` is off."""
    config = make_config(tmp_path)
    assert worker_spec(config, ("cpu",), ("preview",)).kernels == str(config.state_dir / "cache" / "kernels")
    assert worker_spec(make_config(tmp_path, compile="off"), ("cpu",), ("preview",)).kernels == ""


async def test_the_sockets_are_nobody_elses(tmp_path: Path) -> None:
    """A directory of workers' sockets that everybody could write to is tightened before anything is in it."""
    (tmp_path / "run" / "workers").mkdir(parents=True)
    (tmp_path / "run" / "workers").chmod(0o777)
    settings = Settings(make_config(tmp_path))
    journal = Journal(tmp_path / "journal")
    journal.open()
    Fleet(settings, Desk(settings, journal, ("preview",), boot=1), ("cpu",), scripted.main)
    assert stat.S_IMODE((tmp_path / "run" / "workers").stat().st_mode) == 0o700
    await journal.close()


async def test_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker has said counts, also if it arrives a moment after the news of its death."""
    monkeypatch.setattr(reports, "LAST_WORDS", TIMEOUT)
    async with bench(tmp_path, main=scripted.late) as one:
        job = await one.ended(await one.accept())
        assert job.error is not None
        assert (job.error.code, job.attempt, job.deaths) == ("no_face_detected", 1, 0)


async def test_completed_job_left_a_clip(one: Bench) -> None:
    """A completed job has its clip and its manifest in its directory, and nothing half done."""
    job = await one.ended(await one.accept())
    names = {path.name for path in one.desk.directory(job.id).iterdir()}
    assert {"clip.mp4", "manifest.json", "thumbnail.jpg", "portrait.png", "speech.flac"} <= names
    assert not [name for name in names if name.endswith(".part") or name.startswith("stream.")]
    assert (job.attempt, job.device, job.progress, job.windows_done) == (1, "cpu", 1.0, job.windows_total)
    assert job.frames == 5
    manifest = json.loads((one.desk.directory(job.id) / "manifest.json").read_text())
    assert (manifest["job"], manifest["frames"], manifest["crop"]) == (job.id, 5, list(job.crop or ()))
    assert manifest["inputs"] == {"portrait_sha256": job.portrait.sha256, "speech_sha256": "s"}


@pytest.mark.parametrize(
    ("seed", "code", "attempts"),
    [
        (scripted.BROKEN, "internal", 3),
        (scripted.NO_FACE, "no_face_detected", 1),
        (scripted.NO_MEMORY, "out_of_memory", 2),
        (scripted.KILLED, "poison", 2),
        pytest.param(scripted.STICKY, "internal", 3, marks=pytest.mark.long),
    ],
)
async def test_failures(tmp_path: Path, seed: int, code: str, attempts: int) -> None:
    """Every kind of failure has its code and its number of attempts, and the next job runs."""
    async with bench(tmp_path) as one:
        failed, good = await one.accept(seed), await one.accept()
        job = await one.ended(failed)
        assert job.error is not None
        assert (job.status, job.error.code, job.attempt) == ("failed", code, attempts)
        assert (await one.ended(good)).status == "completed"


@pytest.mark.parametrize("seed", [scripted.FREES_MEMORY, scripted.DIES_ONCE])
async def test_second_attempt_succeeds(one: Bench, seed: int) -> None:
    """What fails once, of memory or of a worker's death, completes on its second attempt."""
    job = await one.ended(await one.accept(seed))
    assert (job.status, job.attempt) == ("completed", 2)


async def test_other_device_after_a_death(tmp_path: Path) -> None:
    """A job that lost its worker goes to another one."""
    async with bench(tmp_path, devices=2) as two:
        await two.ready()
        job = await two.accept(scripted.GATED)
        await two.file(job, "waiting")
        first = next(device for device in two.fleet.devices() if device.job == job.id)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        again = await two.until(job, lambda job: job.attempt == 2)
        assert again.deaths == 1
        second = next(device for device in two.fleet.devices() if device.job == job.id)
        assert second.worker != first.worker
        assert two.fleet.devices()[first.worker].deaths == {"killed": 1}
        two.open_gate(job)
        assert (await two.ended(job)).status == "completed"


async def test_cancel_while_queued_and_while_running(one: Bench) -> None:
    """A queued job ends without ever running, a running one at its next checkpoint, and the worker goes on."""
    running, queued = await one.accept(scripted.GATED), await one.accept()
    await one.file(running, "waiting")
    assert (await one.desk.cancel(queued.id, "a")).status == "cancelled"
    await one.desk.cancel(running.id, "a")
    ended = await one.ended(running)
    assert (ended.status, ended.attempt) == ("cancelled", 1)
    assert (await one.ended(await one.accept())).status == "completed"
    assert one.fleet.devices()[0].epoch == 1


async def test_conversation_job_runs_on_top(one: Bench) -> None:
    """A conversation job runs to its end while the batch job is suspended, which then goes on in the same attempt."""
    batch = await one.accept(scripted.GATED)
    await one.file(batch, "waiting")
    other_batch = await one.accept()
    talk = await one.accept(priority=CONVERSATION)
    assert (await one.ended(talk)).status == "completed"
    assert (await one.desk.find(batch.id, None)).status == "in_progress"
    assert (await one.desk.find(other_batch.id, None)).status == "queued"
    one.open_gate(batch)
    ended = await one.ended(batch)
    assert (ended.status, ended.attempt) == ("completed", 1)
    assert (await one.ended(other_batch)).status == "completed"


async def test_death_under_a_suspended_job(one: Bench) -> None:
    """The death counts against the job on top; the suspended one is queued again uncounted."""
    batch = await one.accept(scripted.GATED)
    await one.file(batch, "waiting")
    talk = await one.accept(scripted.GATED, priority=CONVERSATION)
    await one.file(talk, "waiting")
    (device,) = one.fleet.devices()
    assert (device.job, device.suspended) == (talk.id, batch.id)
    assert device.pid is not None
    os.kill(device.pid, signal.SIGKILL)
    for job, deaths in ((talk, 1), (batch, 0)):
        one.open_gate(job)
        ended = await one.ended(job)
        assert (ended.status, ended.deaths, ended.attempt) == ("completed", deaths, 2)


async def test_death_before_the_job_on_top_began(one: Bench) -> None:
    """A batch job that hangs until its worker dies is counted, not the conversation job that waits for a checkpoint."""
    batch = await one.accept(scripted.SILENT)
    await one.file(batch, "silent")
    talk = await one.accept(priority=CONVERSATION)
    (device,) = await one.devices(lambda devices: devices[0].job == talk.id)
    await one.until(talk, lambda job: job.status == "in_progress")
    assert device.pid is not None
    os.kill(device.pid, signal.SIGKILL)
    ended = await one.ended(talk)
    assert (ended.status, ended.deaths, ended.attempt) == ("completed", 0, 2)
    assert (await one.until(batch, lambda job: job.attempt == 2)).deaths == 1


async def test_cancel_of_a_suspended_job(one: Bench) -> None:
    """It ends as soon as the job on top of it has."""
    batch = await one.accept(scripted.GATED)
    await one.file(batch, "waiting")
    talk = await one.accept(scripted.GATED, priority=CONVERSATION)
    await one.file(talk, "waiting")
    await one.desk.cancel(batch.id, None)
    one.open_gate(talk)
    assert (await one.ended(talk)).status == "completed"
    assert (await one.ended(batch)).status == "cancelled"


async def test_stalled_worker_is_ended(tmp_path: Path) -> None:
    """A worker that reports nothing is ended; a job that does it twice is `stalled`."""
    async with bench(tmp_path, stall_timeout="1s", stall_timeout_first="20s") as one:
        job = await one.accept(scripted.SILENT)
        ended = await one.ended(job)
        assert ended.error is not None
        assert (ended.error.code, ended.attempt, ended.deaths) == ("stalled", 2, 2)
        assert one.fleet.devices()[0].deaths == {"stalled": 2}


@pytest.mark.long
async def test_stopped_worker_is_ended(tmp_path: Path) -> None:
    """A worker under SIGSTOP, deaf to SIGABRT, is killed all the same."""
    async with bench(tmp_path, stall_timeout="1s", stall_timeout_first="20s") as one:
        job = await one.accept(scripted.GATED)
        await one.file(job, "waiting")
        (device,) = one.fleet.devices()
        assert device.pid is not None
        os.kill(device.pid, signal.SIGSTOP)
        await one.until(job, lambda job: job.attempt == 2)
        one.open_gate(job)
        assert (await one.ended(job)).status == "completed"


async def test_slow_first_step(tmp_path: Path) -> None:
    """Until a stage has timed one of its own steps the first limit holds: quick stages before it say nothing."""
    async with bench(tmp_path, stall_timeout="0.2s", stall_timeout_first="60s") as one:
        await one.ended(await one.accept())  # the first job imports much
        ended = await one.ended(await one.accept(scripted.SLOW_START))
        assert (ended.status, ended.attempt, ended.deaths) == ("completed", 1, 0)


async def test_step_time_ends_with_its_job(one: Bench) -> None:
    """A job that ends between two steps leaves no step time behind for the next one."""
    (worker,) = one.fleet.workers
    await one.ended(await one.accept())
    job = await one.accept(scripted.GATED)
    await one.until(job, lambda job: job.progress > 0.2 and worker.step_s is not None)
    await one.desk.cancel(job.id, None)
    assert (await one.ended(job)).status == "cancelled"
    assert worker.step_s is None


async def test_idle_worker_is_not_stalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was idle for long is not ended while its next job is being committed."""
    async with bench(tmp_path) as one:
        await one.ready()
        real, asked = one.desk.rows.save, asyncio.Event()
        committed = asyncio.Event()

        async def slow(job: Job) -> None:
            asked.set()
            await committed.wait()
            await real(job)

        monkeypatch.setattr(one.desk.rows, "save", slow)
        (worker,) = one.fleet.workers
        worker.last_report -= 3600.0
        job = await one.accept()
        await asked.wait()
        one.fleet.stall_watch.stop()
        one.fleet.stall_watch.look()
        stalled = worker.stalled
        committed.set()
        assert not stalled
        assert (await one.ended(job)).attempt == 1


@pytest.mark.long
@pytest.mark.parametrize("paused", [True, False])
async def test_machine_that_stood_still(tmp_path: Path, paused: bool) -> None:
    """Silence counts only while there was somebody to hear: a paused machine costs its jobs no attempt."""
    async with bench(tmp_path) as one:
        job = await one.accept(scripted.GATED)
        await one.file(job, "waiting")
        (worker,) = one.fleet.workers
        one.fleet.stall_watch.stop()
        worker.last_report -= 3600.0
        if paused:
            one.fleet.stall_watch.due -= 3600.0
        one.fleet.stall_watch.look()
        assert worker.stalled is not paused
        if paused:
            one.open_gate(job)
            assert (await one.ended(job)).attempt == 1


async def test_job_that_avoids_a_device_which_fails(tmp_path: Path) -> None:
    """A job that waits for another device than the one that died under it runs there after all if no other is left."""
    async with bench(tmp_path, devices=2, main=scripted.second_refuses) as two:
        job = await two.accept(scripted.DIES_ONCE)
        await two.devices(lambda devices: devices[0].epoch == 2 and devices[0].state == "idle")
        (two.desk.settings.now.runtime_dir / "workers" / "refuse").touch()
        ended = await two.ended(job)
        assert (ended.status, ended.attempt) == ("completed", 2)


async def test_hangup_of_a_terminal(one: Bench) -> None:
    """SIGHUP, which a closing terminal sends to all its processes, ends no worker."""
    (device,) = await one.ready()
    assert device.pid is not None
    os.kill(device.pid, signal.SIGHUP)
    assert (await one.ended(await one.accept())).status == "completed"
    assert one.fleet.devices()[0].epoch == 1


async def test_engine_that_is_no_longer_loaded(one: Bench) -> None:
    """A job for an engine that this daemon does not have fails with that reason and harms no worker."""
    one.desk.engines = ("preview", "other")
    ended = await one.ended(await one.accept(engine="other"))
    assert ended.error is not None
    assert (ended.error.code, ended.attempt, one.fleet.devices()[0].epoch) == ("model_not_loaded", 1, 1)


async def test_start_that_fails_is_tried_again(one: Bench) -> None:
    """A worker that cannot even be started counts as one that died: its device fails with the reason, SIGHUP helps."""
    (device,) = await one.ready()
    sockets = one.desk.settings.now.runtime_dir / "workers"
    away = sockets.rename(sockets.with_name("away"))
    assert device.pid is not None
    os.kill(device.pid, signal.SIGKILL)
    (device,) = await one.devices(lambda devices: devices[0].state == "failed")
    assert device.reason is not None
    assert device.reason.startswith("could not be started")
    away.rename(sockets)
    one.fleet.revive()
    assert (await one.ended(await one.accept())).status == "completed"


@pytest.mark.long
async def test_device_that_never_gets_ready(tmp_path: Path) -> None:
    """After five deaths a device counts as failed: submits are refused, queued jobs stay, SIGHUP tries again."""
    async with bench(tmp_path, main=scripted.never_ready) as one:
        waiting = await one.accept()
        (device,) = await one.devices(lambda devices: devices[0].state == "failed")
        assert device.epoch == 5
        # As the worker said, if its last words left it in time.
        assert re.fullmatch("exited with 3 while (loading|getting ready with) preview", device.reason or "")
        with pytest.raises(EchodError, match="exited with 3") as refused:
            await one.accept()
        assert refused.value.code == "no_device"
        assert (await one.desk.find(waiting.id, None)).status == "queued"
        one.fleet.revive()
        await one.devices(lambda devices: devices[0].epoch == 6)


async def test_refusal_is_not_tried_again(tmp_path: Path) -> None:
    """A worker that says it can never get ready fails its device at once, with its reason."""
    async with bench(tmp_path, main=scripted.refusing) as one:
        (device,) = await one.devices(lambda devices: devices[0].state == "failed")
        assert (device.epoch, device.reason) == (1, "the weights are missing")


async def test_reason_of_a_start_that_may_succeed_later(tmp_path: Path) -> None:
    """A worker that runs out of memory while it loads says so, and is started again."""
    async with bench(tmp_path, main=scripted.out_of_memory) as one:
        (worker,) = one.fleet.workers
        worker.backoff_unit = 2 * TIMEOUT  # the test starts it again
        (device,) = await one.devices(lambda devices: devices[0].reason is not None)
        assert device.state == "starting"
        assert device.reason is not None
        assert device.reason.startswith("out of memory while loading preview: too much is asked for; free some")
        one.fleet._spawn(worker)
        (device,) = await one.ready()
        assert (device.epoch, device.reason) == (2, None)


async def test_drain_lets_running_jobs_finish(one: Bench) -> None:
    """A drain waits for the running job, dispatches nothing more, and ends every worker."""
    running, queued = await one.accept(scripted.GATED), await one.accept()
    await one.file(running, "waiting")
    pid = one.fleet.devices()[0].pid
    drain = asyncio.create_task(one.fleet.drain(TIMEOUT, asyncio.Event()))
    await asyncio.sleep(0)
    one.open_gate(running)
    await drain
    assert (await one.ended(running)).status == "completed"
    assert (await one.desk.find(queued.id, None)).status == "queued"
    assert not Path(f"/proc/{pid}").exists()


async def test_second_signal_requeues_uncounted(one: Bench) -> None:
    """What a hurried drain cuts off is queued for the next start and counts as no death."""
    running = await one.accept(scripted.GATED)
    await one.file(running, "waiting")
    hurry = asyncio.Event()
    drain = asyncio.create_task(one.fleet.drain(TIMEOUT, hurry))
    await asyncio.sleep(0)
    hurry.set()
    await drain
    job = await one.until(running, lambda job: job.status == "queued")
    assert (job.attempt, job.deaths) == (1, 0)


async def test_next_start_takes_up_what_was_left(tmp_path: Path) -> None:
    """Jobs in progress when the daemon ended are run by the next one, as a new attempt that counts as no death."""
    async with bench(tmp_path) as one:
        job = await one.accept(scripted.GATED)
        await one.file(job, "waiting")
        record: Any = msgspec.to_builtins(await one.desk.find(job.id, None))
        assert record["status"] == "in_progress"
    async with bench(tmp_path) as one:
        one.open_gate(job)
        ended = await one.ended(job)
        assert (ended.status, ended.attempt, ended.deaths) == ("completed", 2, 0)
