"""The clock of the machine is set, an hour this way or that, before, between and during jobs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosedError

from echod.host.clock import TrustedTime
from echod.jobs.sweep import sweep as sweep_jobs
from echod.server.front import closing
from tests.drivers.asking import receive, refusal
from tests.stand_ins.daemon import PASSWORD, Daemon, Person
from tests.stand_ins.hands import PORTRAIT, SPEECH

HOUR = 3600.0
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR])


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
