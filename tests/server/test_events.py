"""/v1/events: what a watcher is told."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.drivers.asking import receive, until
from tests.stand_ins.daemon import Daemon

pytestmark = pytest.mark.timeout(60)


async def test_life_of_a_job(daemon: Daemon) -> None:
    """A watcher is told every step of a job, in order, with the same object that HTTP gives."""
    async with daemon.events() as ws:
        job_id = await daemon.submit(prompt="a label")
        queued = await receive(ws)
        assert set(queued) == {"type", "seq", "ts", "video"}
        assert queued["video"] == await daemon.video(job_id)
        job = await daemon.hands.begin()
        await daemon.hands.grow(job, b"fragment")
        await daemon.hands.complete(job)
        events = [queued, *[await receive(ws) for _ in range(3)]]
    assert [event["type"] for event in events] == ["job.queued", "job.started", "job.first_frame", "job.completed"]
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert events[-1]["video"] == await daemon.video(job_id)


async def test_snapshots(daemon: Daemon) -> None:
    """On connecting, a watcher gets one snapshot of every live job."""
    ended, live = await daemon.submit(), await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    async with daemon.events() as ws:
        event = await receive(ws)
        assert (event["type"], event["video"]["id"]) == ("job.snapshot", live)
        await daemon.desk.cancel(live, None)
        assert (await receive(ws))["type"] == "job.cancelled"
    assert ended != live


async def test_resuming(daemon: Daemon) -> None:
    """A watcher that comes back with the last seq it saw is told what it missed; with an unknown one, snapshots."""
    async with daemon.events() as ws:
        await daemon.submit()
        seen = (await receive(ws))["seq"]
    job = await daemon.hands.begin()
    await daemon.hands.grow(job, b"fragment")
    async with daemon.events(f"?after={seen}") as ws:
        assert [(await receive(ws))["type"] for _ in range(2)] == ["job.started", "job.first_frame"]
    async with daemon.events("?after=1") as ws:
        assert (await receive(ws))["type"] == "job.snapshot"


async def test_after_that_is_no_number(daemon: Daemon) -> None:
    """A seq that cannot be one is refused with a reason."""
    async with daemon.events("?after=yesterday") as ws:
        with pytest.raises(ConnectionClosedError, match=r"1008.*after must be a seq"):
            await ws.recv()


async def test_foreign_page(daemon: Daemon) -> None:
    """A page of another origin cannot listen."""
    with pytest.raises(InvalidStatus) as refusal:
        await daemon.events(additional_headers={"Origin": "http://evil.example"})
    assert refusal.value.response.status_code == 403


async def test_message_over_the_limit(daemon: Daemon) -> None:
    """Clients have nothing to say here: small messages are ignored, a large one closes the socket."""
    async with daemon.events() as ws:
        await ws.send("hello")
        await daemon.submit()
        assert (await receive(ws))["type"] == "job.queued"
        await ws.send("x" * 100_000)
        with pytest.raises(ConnectionClosedError) as closed:
            await ws.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_many_small_messages(daemon: Daemon) -> None:
    """A client that talks without end does not stop its own events, nor fill memory."""
    async with daemon.events() as ws:
        for _ in range(200):
            await ws.send("hello")
        await daemon.submit()
        assert (await receive(ws))["type"] == "job.queued"


async def test_client_that_never_reads(daemon: Daemon) -> None:
    """Of a client that reads nothing only the newest progress waits, and no end of a job is lost."""
    async with daemon.events(max_queue=1) as ws:
        await daemon.submit(prompt="x" * 10_000)  # so that a few hundred events fill every buffer between the two
        (watcher,) = daemon.desk.feed.watchers
        job = await daemon.hands.begin()
        ws.transport.pause_reading()
        rounds = 0
        for rounds in range(3000):
            await daemon.hands.progress(job, rounds / 4000)
            watcher._told.clear()  # ten events a second would take minutes to fill the buffers
            await asyncio.sleep(0)
        assert len(watcher._pending) <= 2
        await daemon.hands.complete(job)
        ws.transport.resume_reading()
        events = [await receive(ws)]
        while events[-1]["type"] != "job.completed":
            events.append(await receive(ws))
        assert len(events) < rounds


async def test_connection_that_drops(daemon: Daemon) -> None:
    """A watcher whose connection is gone is forgotten."""
    ws = await daemon.events()
    await daemon.submit()
    await receive(ws)
    assert len(daemon.desk.feed.watchers) == 1
    ws.transport.abort()
    await ws.wait_closed()
    async with asyncio.timeout(10):
        await until(lambda: not daemon.desk.feed.watchers)


async def test_watcher_that_falls_behind(daemon: Daemon) -> None:
    """A watcher that the feed drops is told to come back."""
    async with daemon.events() as ws:
        await daemon.submit()
        await receive(ws)
        (watcher,) = daemon.desk.feed.watchers
        watcher.close()
        with pytest.raises(ConnectionClosedError, match=r"1013.*come back with"):
            await ws.recv()
