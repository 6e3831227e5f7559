"""The clock of the machine is set, an hour this way or that, before, between and during jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError

from echod.accounts.signing import Signer
from echod.host.clock import TrustedTime
from echod.jobs import life
from echod.jobs.sweep import sweep as sweep_jobs
from echod.journal import Journal
from echod.server.front import closing
from echod.server.objects import video_object
from echod.server.services import Addresses
from tests.jobs.test_desk import Office, done, office, open_office
from tests.server.conftest import PASSWORD, PORTRAIT, SPEECH, Daemon, Person, receive, refusal

__all__ = ["office"]  # a fixture

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
    assert video_object(progressed, office.desk, addresses)["echod"]["eta_s"] == 10.0


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


@JUMPS
async def test_progress_events(daemon: Daemon, jump: float) -> None:
    """Watchers are told of progress as before, in order, and `ts` is what the clock says."""
    async with daemon.events() as ws:
        await daemon.submit()
        job = await daemon.hands.begin()
        told = [await receive(ws), await receive(ws)]
        for share in (0.2, 0.4, 0.6):
            daemon.skew += jump
            await daemon.hands.progress(job, share)
            told.append(await receive(ws))
            assert abs(told[-1]["ts"] - daemon.clock()) < HOUR / 2
        await daemon.hands.complete(job)
        told.append(await receive(ws))
    assert [event["type"] for event in told] == [
        "job.queued", "job.started", "job.progress", "job.progress", "job.progress", "job.completed",
    ]  # fmt: skip
    assert [event["seq"] for event in told] == sorted(event["seq"] for event in told)
    assert told[-1]["video"]["created_at"] <= told[-1]["video"]["completed_at"]


@JUMPS
async def test_nothing_is_swept_before_its_time(daemon: Daemon, jump: float) -> None:
    """An hour is no lifetime: uploads and clips outlive the jump, and end when the clock has come to their end."""
    file = await daemon.upload(PORTRAIT)
    job = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    daemon.skew += jump
    await sweep(daemon)
    assert (await daemon.http.get(f"/v1/files/{file}")).status_code == 200
    assert (await daemon.video(job))["status"] == "completed"
    daemon.skew += daemon.config.keep_clips + 2 * HOUR
    await sweep(daemon)
    for path in (f"/v1/files/{file}", f"/v1/videos/{job}"):
        assert refusal(await daemon.http.get(path))[:2] == (404, "not_found")
    assert daemon.stored_files() == []


async def sweep(daemon: Daemon) -> None:
    await daemon.files.sweep(daemon.clock())
    await daemon.accounts.sweep(daemon.clock())
    await sweep_jobs(daemon.desk)


def trust(daemon: Daemon, ticks: Callable[[], float] = lambda: 0.0) -> None:
    """Have the daemon judge what has expired as the installed one does; `ticks` go on as a test says."""
    daemon.desk.trusted = daemon.files.trusted = TrustedTime(daemon.now, ticks)


async def sweep_trusted(daemon: Daemon) -> None:
    now = daemon.desk.trusted()
    await daemon.files.sweep(now)
    await daemon.accounts.sweep(now)
    await sweep_jobs(daemon.desk)


@pytest.mark.parametrize("years", [1, 10])
async def test_nothing_is_deleted_by_a_mistake(daemon: Daemon, years: int) -> None:
    """A clock that is set forward by years for a while costs nobody a clip, an upload or the right to repeat."""
    day, key = 24 * HOUR, {"Idempotency-Key": "one"}
    now = daemon.clock()
    daemon.clock = lambda: now + daemon.skew + elapsed  # type: ignore[method-assign]
    elapsed = 0.0
    trust(daemon, lambda: elapsed)
    file = await daemon.upload(PORTRAIT)
    job = (await daemon.post(headers=key)).json()["id"]
    await daemon.hands.complete(await daemon.hands.begin())
    daemon.skew = years * 365 * day
    for _ in range(23):
        elapsed += HOUR
        await sweep_trusted(daemon)
        assert (await daemon.http.get(f"/v1/files/{file}")).status_code == 200
        assert (await daemon.post(headers=key)).json()["id"] == job
    late = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    later = await daemon.upload(SPEECH)
    daemon.skew = 0.0
    await sweep_trusted(daemon)
    assert (await daemon.video(job))["status"] == (await daemon.video(late))["status"] == "completed"
    # What was made meanwhile is not kept for years.
    elapsed += daemon.config.keep_clips
    await sweep_trusted(daemon)
    assert daemon.stored_files() == []
    assert refusal(await daemon.http.get(f"/v1/files/{later}"))[:2] == (404, "not_found")


async def test_a_clock_that_is_right_in_the_end(daemon: Daemon) -> None:
    """After a day a step forward is believed: what has expired by then goes, and what was made after it stays."""
    now, elapsed = daemon.clock(), 0.0
    daemon.clock = lambda: now + daemon.skew + elapsed  # type: ignore[method-assign]
    trust(daemon, lambda: elapsed)
    old = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    daemon.skew = 365 * 24 * HOUR
    await sweep_trusted(daemon)
    new = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    elapsed += 24 * HOUR
    await sweep_trusted(daemon)
    assert refusal(await daemon.http.get(f"/v1/videos/{old}"))[:2] == (404, "not_found")
    assert (await daemon.video(new))["status"] == "completed"


@pytest.mark.parametrize("days", [400, -400])
async def test_who_may_come_in(daemon: Daemon, days: int) -> None:
    """Tokens, sessions and signed addresses go by the clock as it is: forward it ends them, back it lengthens them.
    A session that expired by mistake is there again when the clock is."""
    anna = await daemon.person("anna", "admin")
    trust(daemon, lambda: 0.0)
    _, short = await daemon.accounts.create_token("anna", "short", daemon.clock() + HOUR)
    session = await daemon.accounts.login("anna", PASSWORD, "peer")
    resource = daemon.signer.sign("/v1/files/file_1/content", HOUR)
    path, _, query = resource.partition("?")
    expires, signature = (part.partition("=")[2] for part in query.split("&"))
    for skew in (0.0, days * 24 * HOUR, 0.0):
        daemon.skew = skew
        await sweep_trusted(daemon)
        good = skew <= 0
        assert (daemon.accounts.token(short) is not None) is good
        assert (daemon.accounts.session(session) is not None) is good
        assert daemon.signer.opens(path, expires, signature) is good
        assert daemon.accounts.token(anna.token) is not None


@JUMPS
async def test_idempotency_key(daemon: Daemon, jump: float) -> None:
    """A key that was used stays used."""
    key = {"Idempotency-Key": "one"}
    first = (await daemon.post(headers=key)).json()["id"]
    daemon.skew += jump
    assert (await daemon.post(headers=key)).json()["id"] == first


async def test_a_socket_ends_with_its_token(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that expires because the clock was set forward takes its sockets with it, without an hour's delay."""
    monkeypatch.setattr(closing, "LOOK_AGAIN", 0.01)
    anna = await daemon.person("anna", "admin")
    _, token = await daemon.accounts.create_token("anna", "short", daemon.clock() + HOUR / 2)
    async with daemon.events(person=Person("anna", token, anna.http)) as ws:
        daemon.skew = HOUR
        with pytest.raises(ConnectionClosedError, match="1008"):
            await ws.recv()
