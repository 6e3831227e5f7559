"""/v1/avatar: sound in, sound and pictures out, made by a fleet that does as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from echod.inference.audio import Speech
from echod.inference.video import ClipWriter
from echod.jobs import life
from echod.jobs.folder import BEFORE, END
from echod.jobs.job import CONVERSATION, Job
from echod.server.avatar import outbox, session
from echod.server.avatar.outbox import Outbox
from tests.drivers.asking import make_role, until
from tests.drivers.showing import H264, PCM16, RESTING, RGB24, Avatar
from tests.making.media import write_wav
from tests.stand_ins.daemon import Daemon

FPS = 24
FRAME = 2000  # bytes of sound
LARGE = -36  # the number of a clip of as many frames with more pixels than the kernel takes in


def colour(shade: int) -> tuple[int, int, int]:
    return 5 * shade, 60, 140


def sound(frames: int) -> bytes:
    return random.Random(1).randbytes(frames * FRAME)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Growing clips by their number of frames, each frame a shade redder than the one before."""
    directory = tmp_path_factory.mktemp("clips")
    made = {}
    for number in (5, 25, 29, 30, 36, LARGE):
        frames, size = abs(number), (512, 512) if number == LARGE else (128, 128)
        speech = Speech.open(write_wav(directory / "speech.wav", frames / FPS))
        writer = ClipWriter(directory / "clip.mp4", size, FPS, speech, live=True, mark={})
        writer.write(np.stack([np.full((*size, 3), colour(shade), np.uint8) for shade in range(frames)]))
        writer.close()
        made[number] = (directory / "clip.mp4").read_bytes()
    return made


async def begun(daemon: Daemon) -> Job:
    """The next job of the queue, which a worker takes."""
    await until(lambda: len(daemon.desk.queue) > 0)
    return await daemon.hands.begin()


def frames_of(job: Job) -> int:
    assert job.speech is not None
    return round(job.speech.seconds * FPS)


async def make(daemon: Daemon, clips: dict[int, bytes]) -> Job:
    """The whole clip of the next job."""
    job = await begun(daemon)
    clip = clips[frames_of(job)]
    await daemon.hands.grow(job, clip)
    await daemon.hands.complete(job, clip)
    return job


@contextlib.asynccontextmanager
async def opened(daemon: Daemon, query: str = "?role=ada", **options: Any) -> AsyncIterator[Avatar]:
    options = {"max_queue": None, **options}  # else a client that leaves unread messages waits for its close
    async with connect(f"{daemon.base.replace('http', 'ws')}/v1/avatar{query}", **options) as socket:
        yield Avatar(socket)


@contextlib.asynccontextmanager
async def resting(daemon: Daemon, clips: dict[int, bytes], **start: Any) -> AsyncIterator[Avatar]:
    """A client that has its picture at rest."""
    await make_role(daemon)
    async with opened(daemon) as avatar:
        making = asyncio.create_task(make(daemon, clips))
        await avatar.begin(**{"size": "128x128", **start})
        await making
        yield avatar


async def test_a_segment(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """Each picture comes with its sound, counted from the beginning of the segment; nothing of it is kept."""
    async with resting(daemon, clips) as avatar:
        said = sound(36)
        for start in range(0, len(said), 777):  # half samples too
            await avatar.socket.send(said[start : start + 777])
        await avatar.send("flush")
        job = await make(daemon, clips)
        done = await avatar.until("segment.done")
        await until(lambda: not list((daemon.config.state_dir / "jobs").iterdir()))
    assert avatar.events[0] == {
        "type": "started", "width": 128, "height": 128, "fps": 24, "rate": 24_000, "video": "h264",
    }  # fmt: skip
    assert done == {"type": "segment.done", "segment": 0, "seconds": 1.5}
    assert avatar.sound() == said and job.priority == CONVERSATION
    assert (job.options.live, job.options.joins) == (True, (False, False))
    times = [round(frame * 1e6 / FPS) for frame in range(36)]
    assert [each.microseconds for each in avatar.of(PCM16)] == times
    assert [each.microseconds for each in avatar.of(H264)] == times
    kinds = [each.kind for each in avatar.shown]
    assert kinds == [RESTING, *[PCM16, H264] * 36]
    for first in (avatar.of(RESTING)[0], avatar.of(H264)[0]):
        assert all(b"\0\0\0\1" + bytes([unit]) in first.content[:2000] for unit in (0x67, 0x68))  # SPS and PPS


async def test_pixels(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """Who decodes nothing gets the pixels, in the order in which they are shown."""
    async with resting(daemon, clips, video="rgb24") as avatar:
        await avatar.socket.send(sound(36))
        await avatar.send("flush")
        await make(daemon, clips)
        await avatar.until("segment.done")
    shown = avatar.of(RGB24)
    assert [each.microseconds for each in shown] == [each.microseconds for each in avatar.of(PCM16)]
    assert len(avatar.of(RESTING)[0].content) == 128 * 128 * 3
    for shade, each in enumerate(shown):
        pixels = np.frombuffer(each.content, np.uint8).reshape(128, 128, 3)
        np.testing.assert_allclose(pixels.mean((0, 1)), colour(shade), atol=4)


async def test_segments_follow_one_another(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """The next one counts from 0 again, and one without sound is done at once."""
    async with resting(daemon, clips) as avatar:
        for _ in range(2):
            await avatar.socket.send(sound(30))
            await avatar.send("flush")
        await avatar.send("flush")
        await make(daemon, clips)
        await make(daemon, clips)
        done = [await avatar.until("segment.done") for _ in range(3)]
    assert [(each["segment"], each["seconds"]) for each in done] == [(0, 1.25), (1, 1.25), (2, 0.0)]
    assert [each.microseconds for each in avatar.of(PCM16)].count(0) == 2
    assert avatar.sound() == 2 * sound(30)


async def test_at_most_two_jobs(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """However much was said, two pieces of it are jobs."""
    async with resting(daemon, clips) as avatar:
        for _ in range(4):
            await avatar.socket.send(sound(30))
            await avatar.send("flush")
        await until(lambda: len(daemon.desk.queue) == 2)
        first = await daemon.hands.begin()
        assert len(daemon.desk.queue) == 1
        await daemon.hands.grow(first, clips[30])
        await daemon.hands.complete(first, clips[30])
        await until(lambda: len(daemon.desk.queue) == 2)
        for _ in range(3):
            await make(daemon, clips)
        for _ in range(4):
            await avatar.until("segment.done")
    assert avatar.sound() == 4 * sound(30)


async def test_a_segment_in_pieces(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """Jobs know whether speech goes on before and after them, and are shown as one segment."""
    async with resting(daemon, clips) as avatar:
        await avatar.socket.send(sound(29))  # long enough for a first piece
        await until(lambda: len(daemon.desk.queue) == 1)
        await avatar.socket.send(sound(36))
        await avatar.send("flush")
        jobs = [await make(daemon, clips) for _ in range(2)]
        await avatar.until("segment.done")
    assert [job.options.joins for job in jobs] == [(False, True), (True, False)]
    assert [each.microseconds for each in avatar.of(H264)] == [round(frame * 1e6 / FPS) for frame in range(29 + 36)]
    assert avatar.sound() == sound(29) + sound(36)


async def test_chained(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """A piece is a job when the one before is made, and has its end; then that goes. The next segment begins anew."""
    async with resting(daemon, clips, chained=True) as avatar:
        await avatar.socket.send(sound(29))
        first = await begun(daemon)
        await avatar.socket.send(sound(36))
        await avatar.send("flush")
        await avatar.socket.send(sound(30))
        await avatar.send("flush")
        await daemon.hands.grow(first, clips[29])
        while len(avatar.of(H264)) < 29:
            await avatar.step()
        assert len(daemon.desk.queue) == 0
        (daemon.desk.directory(first.id) / END).write_bytes(b"its end")
        await daemon.hands.complete(first, clips[29])
        second = await begun(daemon)
        assert (daemon.desk.directory(second.id) / BEFORE).read_bytes() == b"its end"
        await until(lambda: not daemon.desk.directory(first.id).exists())
        await daemon.hands.grow(second, clips[36])
        await daemon.hands.complete(second, clips[36])
        third = await make(daemon, clips)
        await avatar.until("segment.done")
        await avatar.until("segment.done")
        await until(lambda: not daemon.desk.directory(third.id).exists())
    assert second.options.chained and third.options.joins == (False, False)
    assert avatar.sound() == sound(29) + sound(36) + sound(30)


async def test_chained_to_nothing(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """A piece goes without what the one before did not leave."""
    async with resting(daemon, clips, chained=True) as avatar:
        await avatar.socket.send(sound(29))
        first = await begun(daemon)
        await avatar.socket.send(sound(36))
        await avatar.send("flush")
        await daemon.hands.fail(first, "not_finite")
        second = await make(daemon, clips)
        await avatar.until("segment.done")
    assert second.options.joins == (True, False)


async def test_the_second_before_the_first(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """A piece that was made before its turn came is shown in its turn; one that somebody removed is told and heard."""
    async with resting(daemon, clips) as avatar:
        for frames in (30, 36):
            await avatar.socket.send(sound(frames))
            await avatar.send("flush")
        await until(lambda: len(daemon.desk.queue) == 2)
        first, second = await daemon.hands.begin(), await daemon.hands.begin()
        await daemon.hands.complete(second, clips[36])
        await daemon.hands.complete(first, clips[30])
        for _ in range(2):
            await avatar.until("segment.done")
        assert len(avatar.of(H264)) == 66 and avatar.sound() == sound(30) + sound(36)
        for frames in (30, 36):
            await avatar.socket.send(sound(frames))
            await avatar.send("flush")
        await until(lambda: len(daemon.desk.queue) == 2)
        first, second = await daemon.hands.begin(), await daemon.hands.begin()
        await daemon.hands.complete(second, clips[36])
        await daemon.desk.remove(second.id, None)
        await daemon.hands.complete(first, clips[30])
        assert (await avatar.until("error"))["error"]["code"] == "not_found"
        while avatar.sound() != 2 * (sound(30) + sound(36)):
            await avatar.step()


async def test_clear(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """What is queued and in the making is dropped at once, and nothing of it comes after `cleared`."""
    async with resting(daemon, clips) as avatar:
        for _ in range(3):
            await avatar.socket.send(sound(30))
            await avatar.send("flush")
        job = await begun(daemon)
        await daemon.hands.grow(job, clips[30][: len(clips[30]) // 2])
        while not avatar.of(H264):
            await avatar.step()
        await avatar.send("clear")
        await avatar.until("cleared")
        await until(lambda: daemon.hands.cancelled == [job.id] and not len(daemon.desk.queue))
        await daemon.hands.grow(job, clips[30][len(clips[30]) // 2 :])
        await daemon.desk.apply(job.id, life.Cancelled())
        avatar.shown.clear()
        await avatar.socket.send(sound(36))
        await avatar.send("flush")
        await make(daemon, clips)
        assert (await avatar.until("segment.done"))["segment"] == 3
    assert avatar.sound() == sound(36)


async def test_a_place_in_the_queue(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """Who waits behind others is told behind how many."""
    async with resting(daemon, clips) as first, opened(daemon) as second:
        await first.socket.send(sound(30))
        await first.send("flush")
        await until(lambda: len(daemon.desk.queue) == 1)
        await second.send("start", rate=24_000, size="128x128")
        assert (await second.until("queued"))["place"] == 1
        await make(daemon, clips)
        assert (await second.until("queued"))["place"] == 0
        await make(daemon, clips)
        while not second.of(RESTING):
            await second.step()


async def test_a_lost_attempt(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """The next attempt goes on where the lost one was: no picture comes twice."""
    async with resting(daemon, clips) as avatar:
        await avatar.socket.send(sound(36))
        await avatar.send("flush")
        job = await begun(daemon)
        await daemon.hands.grow(job, clips[36][: len(clips[36]) * 2 // 3])
        while not avatar.of(H264):
            await avatar.step()
        await daemon.desk.apply(job.id, life.Requeued(job.attempt))
        await make(daemon, clips)
        await avatar.until("segment.done")
    assert [each.microseconds for each in avatar.of(H264)] == [each.microseconds for each in avatar.of(PCM16)]
    assert avatar.sound() == sound(36)


async def test_a_clip_that_fails(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """It is told why, the voice is heard all the same, and the next segment has pictures again."""
    async with resting(daemon, clips) as avatar:
        await avatar.socket.send(sound(30))
        await avatar.send("flush")
        await daemon.hands.fail(await begun(daemon), "not_finite")
        error = await avatar.until("error")
        assert (error["error"]["code"], error["segment"]) == ("not_finite", 0)
        await avatar.until("segment.done")
        assert avatar.sound() == sound(30) and not avatar.of(H264)
        await avatar.socket.send(sound(30))
        await avatar.send("flush")
        await make(daemon, clips)
        await avatar.until("segment.done")
    assert len(avatar.of(H264)) == 30


START = {"type": "start", "rate": 24_000}


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("not JSON", "invalid_request", None),
        (b"sound", "invalid_request", None),
        ({"type": "flush"}, "invalid_request", "type"),
        ({"type": "start"}, "invalid_request", "rate"),
        ({**START, "rate": 4_000}, "invalid_request", "rate"),
        ({**START, "rate": True}, "invalid_request", "rate"),
        ({**START, "video": "vp8"}, "invalid_request", "video"),
        ({**START, "chained": "yes"}, "invalid_request", "chained"),
        ({**START, "fps": 29}, "invalid_request", "fps"),
        ({**START, "size": "1x1"}, "unsupported_size", "size"),
        ({**START, "colour": "red"}, "invalid_request", "colour"),
        ({**START, "model": "nothing"}, "model_not_loaded", "model"),
        ({**START, "role": "nobody"}, "not_found", None),
        ({**START, "portrait": "file-1"}, "invalid_request", "role"),
    ],
    ids=str,
)
async def test_a_start_that_is_wrong(daemon: Daemon, message: Any, code: str, param: str | None) -> None:
    """It is refused as everywhere, and the connection ends."""
    await make_role(daemon)
    async with opened(daemon) as avatar:
        await avatar.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
        error = (await avatar.until("error"))["error"]
        assert (error["code"], error["param"]) == (code, param)
        with pytest.raises(ConnectionClosed) as closed:
            await avatar.step()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


async def test_an_uploaded_portrait(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """A face needs no role; a recording is none."""
    face, recording = await daemon.upload(b"a face"), await daemon.upload(b"words")
    async with opened(daemon, "") as avatar:
        making = asyncio.create_task(make(daemon, clips))
        await avatar.begin(portrait=face, size="128x128")
        await making
    async with opened(daemon, "") as avatar:
        await avatar.send("start", rate=24_000, portrait=recording)
        assert (await avatar.until("error"))["error"]["param"] == "portrait"


async def test_somebody_elses_portrait(daemon: Daemon) -> None:
    """There is none for others."""
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    face = await daemon.upload(b"a face", person=anna)
    async with opened(daemon, "", additional_headers=bert.bearer) as avatar:
        await avatar.send("start", rate=24_000, portrait=face)
        assert (await avatar.until("error"))["error"]["code"] == "not_found"


@pytest.mark.parametrize("message", ["{", "[]", "x" * 20_000, '{"type": "start"}', '{"type": ["clear"]}', "{}"])
async def test_garbage(daemon: Daemon, clips: dict[int, bytes], message: str) -> None:
    """It is told, and what is said goes on."""
    async with resting(daemon, clips) as avatar:
        await avatar.socket.send(sound(25))
        await avatar.socket.send(message)
        assert (await avatar.until("error"))["error"]["code"] == "invalid_request"
        await avatar.send("flush")
        await make(daemon, clips)
        await avatar.until("segment.done")
    assert avatar.sound() == sound(25)


async def test_a_session_that_breaks(daemon: Daemon, clips: dict[int, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours closes the socket as one."""

    def breaks(self: object, sound: bytes) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(session.Session, "hear", breaks)
    async with resting(daemon, clips) as avatar:
        await avatar.socket.send(sound(1))
        await avatar.socket.wait_closed()
    assert avatar.socket.close_code == 1011


@pytest.mark.parametrize("limits", [{"receive_memory": 1 << 20}])
async def test_too_much_at_once(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """What is said and not shown yet takes memory of a budget; `clear` gives it back."""
    async with resting(daemon, clips) as avatar:
        await avatar.socket.send(sound(25))
        await avatar.send("flush")
        for _ in range(5):
            await avatar.socket.send(bytes(1 << 16))
        assert (await avatar.until("error"))["error"]["code"] == "rate_limited"
        await avatar.send("clear")
        await avatar.until("cleared")
        refused = len(avatar.events)
        await avatar.socket.send(bytes(1 << 16))
        await avatar.send("clear")
        await avatar.until("cleared")
        assert len(avatar.events) == refused + 1
    await until(lambda: not daemon.said.taken and not daemon.budget.taken)


async def test_too_many_segments(daemon: Daemon, clips: dict[int, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are counted too: one without sound takes some memory."""
    monkeypatch.setattr(session, "MAX_SEGMENTS", 3)
    async with resting(daemon, clips) as avatar:
        for _ in range(6):
            await avatar.socket.send(sound(5))
            await avatar.send("flush")
        assert (await avatar.until("error"))["error"]["code"] == "rate_limited"


async def test_a_client_that_is_gone(daemon: Daemon, clips: dict[int, bytes]) -> None:
    """Its jobs end, and nothing of what it said is kept."""
    async with resting(daemon, clips) as avatar:
        for _ in range(3):
            await avatar.socket.send(sound(30))
            await avatar.send("flush")
        job = await begun(daemon)
        avatar.socket.transport.abort()
        await until(lambda: daemon.hands.cancelled == [job.id] and not len(daemon.desk.queue))
    await until(lambda: not daemon.said.taken and not daemon.budget.taken)


async def test_a_slow_reader(daemon: Daemon, clips: dict[int, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Little waits for who does not read, and after a while they are let go."""
    monkeypatch.setattr(outbox, "PATIENCE", 0.5)
    boxes, waiting = set(), []
    add = Outbox._add

    def watched(self: Outbox, message: Any) -> None:
        add(self, message)
        boxes.add(self)
        waiting.append(self._size)

    monkeypatch.setattr(Outbox, "_add", watched)
    await make_role(daemon)
    async with opened(daemon, max_queue=1) as avatar:
        making = asyncio.create_task(make(daemon, clips))
        await avatar.begin(size="512x512", video="rgb24")
        await making
        [box] = boxes
        for _ in range(2):
            await avatar.socket.send(sound(36))
            await avatar.send("flush")
        job = await begun(daemon)
        await daemon.hands.grow(job, clips[LARGE])
        await box.stuck.wait()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await avatar.step()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
    assert max(waiting) < outbox.MAX_WAITING + 512 * 512 * 3 + 100
    await until(lambda: daemon.hands.cancelled == [job.id] and not len(daemon.desk.queue))
