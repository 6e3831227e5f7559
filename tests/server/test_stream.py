"""/stream: a clip that is watched while it grows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.drivers.asking import refusal
from tests.stand_ins.daemon import Daemon

pytestmark = pytest.mark.timeout(60)


class Watching:
    """A client that reads a stream in the background."""

    def __init__(self, daemon: Daemon, job_id: str) -> None:
        self.begun: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        self.data = b""
        self._grown = asyncio.Event()
        self.task = asyncio.create_task(self._read(daemon, job_id))

    async def _read(self, daemon: Daemon, job_id: str) -> None:
        async with daemon.http.stream("GET", f"/v1/videos/{job_id}/stream") as answer:
            self.begun.set_result(answer)
            async for chunk in answer.aiter_bytes():
                self.data += chunk
                self._grown.set()

    async def has(self, data: bytes) -> None:
        """Wait until just this has arrived."""
        while self.data != data:
            assert data.startswith(self.data)
            self._grown.clear()
            await self._grown.wait()


@contextlib.asynccontextmanager
async def watching(daemon: Daemon, job_id: str) -> AsyncIterator[Watching]:
    """A stream whose request has reached the daemon."""
    watchers = len(daemon.desk.feed.watchers)
    client = Watching(daemon, job_id)
    while len(daemon.desk.feed.watchers) == watchers and not client.task.done():
        await asyncio.wait([client.task], timeout=0.005)
    yield client
    client.task.cancel()
    await asyncio.wait([client.task])


async def test_grows_with_its_attempt(daemon: Daemon) -> None:
    """A stream waits while the job is queued, gives every fragment as it is made, and ends with the clip."""
    job_id = await daemon.submit()
    async with watching(daemon, job_id) as client:
        job = await daemon.hands.begin()
        await daemon.hands.progress(job, 0.1)
        assert not client.begun.done()
        await daemon.hands.grow(job, b"one ")
        answer = await client.begun
        assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
        await client.has(b"one ")
        await daemon.hands.grow(job, b"two ")
        await client.has(b"one two ")
        await daemon.hands.grow(job, b"three")
        await daemon.hands.complete(job, b"the remuxed file")
        await client.task
        assert client.data == b"one two three"
    assert not daemon.desk.feed.watchers


async def test_late_watchers_get_all_of_it(daemon: Daemon) -> None:
    """Whoever comes while the clip grows gets it from its beginning."""
    job_id = await daemon.submit()
    job = await daemon.hands.begin()
    await daemon.hands.grow(job, b"x" * 300_000)
    async with watching(daemon, job_id) as client:
        await client.has(b"x" * 300_000)
        await daemon.hands.complete(job)
        await client.task


async def test_finished_clip(daemon: Daemon) -> None:
    """Of a completed job the stream is the final file, ranges and all."""
    job_id = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin(), b"the remuxed file")
    answer = await daemon.http.get(f"/v1/videos/{job_id}/stream", headers={"Range": "bytes=4-10"})
    assert (answer.status_code, answer.content) == (206, b"remuxed")


async def test_head(daemon: Daemon) -> None:
    """HEAD says at once what GET will: of a queued job no length, of an ended one that of its clip, or a refusal."""
    jobs = [await daemon.submit() for _ in range(2)]
    completed, failed = (f"/v1/videos/{job}/stream" for job in jobs)
    head = await daemon.http.head(completed)
    assert (head.status_code, head.headers["content-type"]) == (200, "video/mp4")
    assert "content-length" not in head.headers
    await daemon.hands.complete(await daemon.hands.begin(), b"the remuxed file")
    await daemon.hands.fail(await daemon.hands.begin(), "internal")
    assert (await daemon.http.head(completed)).headers["content-length"] == "16"
    head, get = await daemon.http.head(failed), await daemon.http.get(failed)
    assert (head.status_code, head.headers["content-length"]) == (409, str(len(get.content)))
    assert (await daemon.http.head("/v1/videos/video_none/stream")).status_code == 404


async def test_completed_before_a_fragment(daemon: Daemon) -> None:
    """A clip that is finished before it could be watched is served as the final file."""
    job_id = await daemon.submit()
    async with watching(daemon, job_id) as client:
        await daemon.hands.complete(await daemon.hands.begin(), b"the remuxed file")
        await client.task
        assert client.data == b"the remuxed file"


@pytest.mark.parametrize("transient", [True, False])
async def test_attempt_that_dies(daemon: Daemon, transient: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A stream whose attempt dies is broken off: a client cannot take it for the whole clip."""
    job_id = await daemon.submit()
    job = await daemon.hands.begin()
    await daemon.hands.grow(job, b"half ")
    async with watching(daemon, job_id) as client:
        await client.has(b"half ")
        await daemon.hands.fail(job, "internal", transient)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await client.task
    assert not daemon.desk.feed.watchers
    assert not caplog.records


async def test_the_next_attempt(daemon: Daemon) -> None:
    """A stream that has sent nothing yet goes on waiting when an attempt dies, and gives the next one."""
    job_id = await daemon.submit()
    async with watching(daemon, job_id) as client:
        await daemon.hands.fail(await daemon.hands.begin(), "internal", transient=True)
        second = await daemon.hands.begin()
        await daemon.hands.grow(second, b"second attempt")
        await client.has(b"second attempt")
        await daemon.hands.complete(second)
        await client.task


@pytest.mark.parametrize("running", [True, False])
async def test_cancelled_while_waiting(daemon: Daemon, running: bool) -> None:
    """A stream of a job that is cancelled before its first fragment gets an error, not an empty clip."""
    job_id = await daemon.submit()
    async with watching(daemon, job_id) as client:
        job = await daemon.hands.begin() if running else None
        await daemon.desk.cancel(job_id, None)
        if job:
            await daemon.hands.fail(job, "internal", transient=True)
        answer = await client.begun
        await client.task
        assert answer.status_code == 409
        assert b"cancelled" in client.data


@pytest.mark.parametrize("growing", [True, False])
async def test_client_that_goes_away(daemon: Daemon, growing: bool) -> None:
    """Nothing of a stream remains once its client has gone, whether it was waiting or reading."""
    job_id = await daemon.submit()
    job = await daemon.hands.begin()
    if growing:
        await daemon.hands.grow(job, b"fragment")
    async with watching(daemon, job_id) as client:
        if growing:
            await client.has(b"fragment")
    tasks = daemon.front.state.tasks
    while tasks:
        await asyncio.wait(tasks, timeout=10)
    assert not daemon.desk.feed.watchers


async def test_unknown_job(daemon: Daemon) -> None:
    """A stream of a job that is not there is not found."""
    assert refusal(await daemon.http.get("/v1/videos/video_none/stream"))[:2] == (404, "not_found")
