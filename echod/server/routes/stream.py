"""GET /v1/videos/{id}/stream: the clip while it is being made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import BinaryIO, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from echod.errors import EchodError
from echod.jobs.desk import Desk
from echod.jobs.job import Job
from echod.server.admission import abort, disconnected
from echod.server.downloads import Download, download
from echod.uploads.store import display_name

T = TypeVar("T")

CHUNK = 64 * 1024
GROWING = {"Cache-Control": "no-store"}
GROWTH_INTERVAL = 0.1  # seconds between two looks at a file that grows; fragments come at most a few times a second


class AttemptLost(Exception):
    """The attempt whose frames are being sent has ended without a clip."""


class Stream(Response):
    """An answer that waits for the first fragment, then grows with its attempt; the finished clip if there is one."""

    def __init__(self, desk: Desk, job: Job) -> None:
        super().__init__(media_type="video/mp4")
        self._desk = desk
        self._job = job
        # Now, not when the answer begins: nothing may happen to the job in between unseen.
        self._watcher = desk.feed.watch_job(job)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            source = await unless_gone(self._begin(), receive)
            if isinstance(source, Download):
                await source(scope, receive, send)
                return
            with source as file:
                await StreamingResponse(self._follow(file), media_type="video/mp4", headers=GROWING)(
                    scope, receive, send
                )
        except AttemptLost:
            await abort(scope, receive)
        finally:
            self._watcher.close()

    async def _begin(self) -> BinaryIO | Download:
        async for event in self._watcher:
            self._job = event.job
            if self._job.terminal:
                return _ended(self._desk, self._job)
            if self._job.streaming and (file := self._open()):
                return file
        raise EchodError("internal", "the stream lost sight of its job")

    def _open(self) -> BinaryIO | None:
        """The growing file; None if its attempt has just ended: the feed is about to say so."""
        with contextlib.suppress(FileNotFoundError):
            return (self._desk.directory(self._job.id) / f"stream.{self._job.attempt}.mp4").open("rb")
        return None

    async def _follow(self, file: BinaryIO) -> AsyncIterator[bytes]:
        attempt = self._job.attempt
        changes = asyncio.ensure_future(anext(self._watcher))
        try:
            while True:
                ended = self._job.status == "completed"  # looked at first: all of the file was written before that
                while data := file.read(CHUNK):
                    yield data
                if ended:
                    return
                await asyncio.wait([changes], timeout=GROWTH_INTERVAL)
                if changes.done():
                    self._job = changes.result().job
                    changes = asyncio.ensure_future(anext(self._watcher))
                if self._job.attempt != attempt or self._job.status in ("queued", "failed", "cancelled"):
                    raise AttemptLost
        finally:
            changes.cancel()


def stream_head(desk: Desk, job: Job) -> Response:
    """What HEAD is answered, at once: nobody knows yet how long a clip will be that is being made."""
    if job.terminal:
        return _ended(desk, job)
    head = Response(media_type="video/mp4", headers=GROWING)
    del head.headers["content-length"]
    return head


def _ended(desk: Desk, job: Job) -> Download:
    if job.status != "completed":
        raise EchodError("not_ready", f"there is no clip: {why_none(job)}")
    return clip(desk, job)


def clip(desk: Desk, job: Job) -> Download:
    name = f"{display_name(job.title)}.mp4" if job.title else None
    return download(desk.directory(job.id) / "clip.mp4", "video/mp4", f"{job.id}.mp4", "inline", title=name)


def why_none(job: Job) -> str:
    """Why a job has no clip, in a clause."""
    if job.error:
        return f"the job is {job.status} ({job.error.code}: {job.error.message})"
    return f"the job is {job.status}"


async def unless_gone(work: Awaitable[T], receive: Receive) -> T:
    """What `work` comes to; ClientDisconnect, and the work cancelled, once nobody waits for the answer."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
