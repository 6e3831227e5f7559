"""The clock of the machine is set, an hour this way or that, before, between and during what a desk does."""

from __future__ import annotations

from pathlib import Path

import pytest

from echod.accounts.signing import Signer
from echod.jobs import life
from echod.jobs.sweep import sweep as sweep_jobs
from echod.journal import Journal
from echod.server.objects import video_object
from echod.server.services import Addresses
from tests.drivers.office import Office, open_office
from tests.making.jobs import done

HOUR = 3600.0
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR])


async def order_of_dispatch(office: Office) -> list[str]:
    order = []
    while job := office.desk.queue.pop():
        order.append(job.id)
        await office.run(job, done())
    return order


@JUMPS
async def test_order_of_acceptance(office: Office, jump: float) -> None:
    """Whoever was accepted first is dispatched first, and so is a job that comes back, whatever the clock says."""
    accepted = []
    for _ in range(4):
        accepted.append((await office.desk.accept(office.draft)).id)
        office.clock.now += jump
    assert [office.desk.queue.position(id) for id in accepted] == [0, 1, 2, 3]
    office.desk.queue.discard(accepted[1])
    await office.desk.begin(accepted[1], "cpu")
    office.clock.now -= 2 * jump
    await office.desk.apply(accepted[1], life.Requeued(1))
    assert await order_of_dispatch(office) == accepted


@JUMPS
async def test_order_after_a_restart(office: Office, tmp_path: Path, jump: float) -> None:
    """The next start keeps the order of acceptance too, also before what it accepts itself."""
    first = []
    for _ in range(3):
        first.append((await office.desk.accept(office.draft)).id)
        office.clock.now += jump
    office.desk.queue.discard(first[0])
    await office.desk.begin(first[0], "cpu")
    await office.desk.rows.journal.close()
    journal = Journal(office.desk.settings.now.state_dir / "journal")
    journal.open()
    again = await open_office(office.desk.settings.now, journal, tmp_path)  # whose clock stands at its beginning
    last = (await again.desk.accept(again.draft)).id
    assert await order_of_dispatch(again) == [*first, last]
    await journal.close()


@JUMPS
async def test_times_of_a_job(office: Office, jump: float) -> None:
    """A job never starts before it was accepted nor ends before it started, and its clip is kept from its end on."""
    job = await office.desk.accept(office.draft)
    office.clock.now += jump
    office.desk.queue.discard(job.id)
    await office.desk.begin(job.id, "cpu")
    office.clock.now -= 2 * jump
    await office.desk.apply(job.id, done())
    ended = await office.desk.find(job.id, None)
    assert ended.started_at is not None and ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at
    assert ended.expires_at == office.clock.now + office.desk.settings.now.keep_clips
    await sweep_jobs(office.desk)
    assert await office.desk.find(job.id, None) == ended


@JUMPS
async def test_time_left(office: Office, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """What is left of a job is told from how long it has really run."""
    ticks = 500.0
    monkeypatch.setattr(office.desk, "ticks", lambda: ticks)
    job = await office.desk.accept(office.draft)
    office.desk.queue.discard(job.id)
    await office.desk.begin(job.id, "cpu")
    ticks, office.clock.now = ticks + 30.0, office.clock.now + jump
    progressed = await office.desk.apply(job.id, life.Progressed(attempt=1, stage="decode", progress=0.75))
    assert progressed is not None
    addresses = Addresses("http://localhost", Signer(b"k" * 32), HOUR)
    assert video_object(progressed, office.desk, addresses).echod.eta_s == 10.0


async def test_time_left_of_a_resumed_job(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by what this attempt has done itself, and only once it has done something."""
    ticks = 500.0
    monkeypatch.setattr(office.desk, "ticks", lambda: ticks)
    job = await office.desk.accept(office.draft)
    addresses = Addresses("http://localhost", Signer(b"k" * 32), HOUR)

    async def told(attempt: int, progress: float, windows: int) -> tuple[int, float | None]:
        event = life.Progressed(
            attempt=attempt, stage="denoise", progress=progress, windows_done=windows, windows_total=10
        )
        shown = video_object(await office.desk.apply(job.id, event) or job, office.desk, addresses)
        return shown.progress, shown.echod.eta_s

    await office.run(job)
    await told(1, 0.0, 0)
    await told(1, 0.6, 5)
    await office.desk.apply(job.id, life.Requeued(1))
    await office.run(job)
    assert await told(2, 0.5, 5) == (60, None)
    ticks += 30.0
    assert await told(2, 0.8, 8) == (80, 20.0)


@JUMPS
async def test_how_long_a_job_took(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, jump: float
) -> None:
    """The log tells how long it really ran."""
    ticks = 500.0
    monkeypatch.setattr(office.desk, "ticks", lambda: ticks)
    job = await office.desk.accept(office.draft)
    office.desk.queue.discard(job.id)
    await office.desk.begin(job.id, "cpu")
    ticks, office.clock.now = ticks + 4.0, office.clock.now + jump
    with caplog.at_level("INFO", "echod.desk"):
        await office.desk.apply(job.id, done())
    assert "completed in 4.0 s, 3.0 frames/s" in caplog.messages
