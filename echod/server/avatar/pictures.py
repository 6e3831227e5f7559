"""The pictures of a clip while it is made, without decoding it: the access units of its growing fragments."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import BinaryIO, NamedTuple

import av
from av.bitstream import BitStreamFilterContext
from av.video.reformatter import Colorspace

from echod.errors import EchodError
from echod.jobs.desk import Desk
from echod.jobs.job import Job

GROWTH_INTERVAL = 0.02  # seconds between two looks at a file that grows
WAITING_INTERVAL = 0.25  # and at a job's place in the queue


class Picture(NamedTuple):
    """An H.264 access unit (Annex B) or the pixels of a frame, the `frame`th of its clip."""

    frame: int
    data: bytes


class Decoder:
    """Makes pixels of access units: rgb24, in the order in which they are shown."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("h264", "r")
        self._codec.thread_count = 1  # more of them hold frames back

    def decode(self, unit: Picture | None) -> list[Picture]:
        """Those that are known now; with None the rest."""
        packet = None
        if unit is not None:
            packet = av.Packet(unit.data)
            packet.pts = unit.frame
        frames = self._codec.decode(packet)
        return [Picture(frame.pts or 0, _pixels(frame)) for frame in frames]


def _pixels(frame: av.VideoFrame) -> bytes:
    return frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU601).to_ndarray().tobytes()


async def access_units(desk: Desk, job: Job, waiting: Callable[[], None]) -> AsyncGenerator[list[Picture], None]:
    """All of a job's clip, in the order in which they are decoded. `waiting` is called now and then until they come.

    If the attempt is lost, the next one goes on: it makes the same frames. EchodError if the job ends without a clip.
    """
    told = 0
    async with _Watched(desk, job) as watched:
        while True:
            before = 0  # of this attempt
            async for fragment in _fragments(watched, waiting):
                units = await asyncio.to_thread(_demux, fragment, job.options.fps)
                if new := units[max(0, told - before) :]:
                    yield new
                before += len(units)
                told = max(told, before)
            if watched.job.status == "completed" and watched.job.attempt == watched.read:
                return


class _Watched:
    """A job as it is now. EchodError not_found if somebody has removed it."""

    def __init__(self, desk: Desk, job: Job) -> None:
        self.job = job
        self._desk = desk
        self.read = 0  # the attempt whose frames were read last
        self.directory = desk.directory(job.id)
        self._changed = asyncio.Event()

    async def __aenter__(self) -> _Watched:
        self.job = await self._desk.find(self.job.id, None)  # it may have ended since it was accepted
        self._watcher = self._desk.feed.watch_job(self.job)
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watcher.close()
        self._task.cancel()

    async def _follow(self) -> None:
        async for event in self._watcher:
            self.job = event.job
            self._changed.set()

    async def wait(self, seconds: float) -> None:
        """For a change, but no longer."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass


async def _fragments(watched: _Watched, waiting: Callable[[], None]) -> AsyncGenerator[bytes, None]:
    """Those of one attempt, as they come; what is yielded is a file of its own."""
    while not watched.job.terminal:
        file = _open(watched)
        if file is not None:
            with file:
                async for fragment in _growing(file, watched):
                    yield fragment
            return
        waiting()
        await watched.wait(GROWTH_INTERVAL if watched.job.status == "in_progress" else WAITING_INTERVAL)
    if watched.job.status != "completed":
        error = watched.job.error
        raise EchodError(error.code if error else "cancelled", error.message if error else "its clip was cancelled")
    watched.read = watched.job.attempt
    try:
        clip = (watched.directory / "clip.mp4").read_bytes()
    except FileNotFoundError:
        raise EchodError("not_found", "somebody has removed its clip") from None
    yield clip


def _open(watched: _Watched) -> BinaryIO | None:
    """The growing file; None if there is none yet, or its attempt has just ended: that is about to be told."""
    if watched.job.status != "in_progress":
        return None
    try:
        return (watched.directory / f"stream.{watched.job.attempt}.mp4").open("rb")
    except FileNotFoundError:
        return None


async def _growing(file: BinaryIO, watched: _Watched) -> AsyncGenerator[bytes, None]:
    attempt = watched.read = watched.job.attempt
    head = fragment = rest = b""
    while True:
        job = watched.job  # looked at first: all of the file was written before it ended
        rest, whole = rest + file.read(), b""
        for kind, box in _boxes(rest):
            rest = rest[len(box) :]
            if kind in (b"ftyp", b"moov"):
                head += box
            elif kind in (b"moof", b"mdat"):
                fragment += box
            if kind == b"mdat":
                whole, fragment = whole + fragment, b""
        if whole:
            yield head + whole
        if job.attempt != attempt or job.status != "in_progress":
            return
        await watched.wait(GROWTH_INTERVAL)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes of an mp4 file that are there whole (ISO 14496-12, 4.2): kind and all bytes of each."""
    place = 0
    while len(data) >= place + 8:
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8 or len(data) < place + size:
            return
        yield data[place + 4 : place + 8], data[place : place + size]
        place += size


def _demux(fragment: bytes, fps: int) -> list[Picture]:
    with av.open(io.BytesIO(fragment), "r") as container:
        stream = container.streams.video[0]
        start_codes = BitStreamFilterContext("h264_mp4toannexb", stream)
        packets = [unit for packet in container.demux(stream) for unit in start_codes.filter(packet)]
        return [
            Picture(round(unit.pts * unit.time_base * fps), bytes(unit))
            for unit in packets
            if unit.pts is not None and unit.time_base is not None
        ]
