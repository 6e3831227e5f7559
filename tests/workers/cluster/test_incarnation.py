"""A far incarnation: what comes back and in which order, how it ends, and what no node may say."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod import __version__
from echod.jobs import life
from echod.jobs.job import ClipOptions
from echod.workers import messages
from echod.workers.cluster import incarnation, node
from echod.workers.cluster.messages import Ended, Grown, Name, Told, Word, encode
from echod.workers.hand import how_it_ended
from echod.workers.messages import Moved, NotReady, Prepare, Prepared, Ready
from echod.workers.state import Ending
from tests.drivers.far import Here, Home, Scripted
from tests.stand_ins import far_child

JOB = "video_1"
DONE = life.Done(attempt=1, frames=1, crop=(0, 0, 1, 1), faces=1, timings_ms={})


@pytest.fixture(autouse=True)
def houses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where hands live on a node."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setattr(node, "HOUSES", Path(directory))
        monkeypatch.setenv("HOME", directory)
        monkeypatch.setenv("ECHOD_STATE_DIR", f"{directory}/../{Path(directory).name}.state")
        yield Path(directory)


async def test_a_clip_comes_back(tmp_path: Path, houses: Path) -> None:
    """The stream before it is told of, everything else before the job is done; nothing stays on the node."""
    async with Home(tmp_path, Here()) as home:
        pid = (await home.told(messages.Hello)).pid
        assert (await home.told(Ready)).numbers == {}
        for attempt in (1, 2):
            await home.run(far_child.WAITS, attempt=attempt)
            assert isinstance((await home.told(Moved)).event, life.FirstFrame)
            with (home.job / f"stream.{attempt}.mp4").open("rb") as watched:
                assert watched.read() == far_child.STREAM
                os.kill(pid, signal.SIGUSR1)
                assert isinstance((await home.told(Moved)).event, life.Done)
                assert watched.read() == b"more", "what was written last had lost its name on the node by then"
            assert (home.job / "clip.mp4").read_bytes() == far_child.CLIP
            assert (home.job / "thumbnail.jpg").read_bytes() == b"thumbnail"
            assert home.files() == {"clip.mp4", "thumbnail.jpg", "manifest.json"}
        (house,) = houses.iterdir()
        assert {path.name for path in house.iterdir()} == {"inbox", "reports"}
        await home.send(messages.Stop())
        assert await home.ending() == how_it_ended(0)
        assert home.lines == ["threads 1"]
    assert not list(houses.iterdir())


async def test_a_portrait_to_be_prepared_is_sent(tmp_path: Path) -> None:
    async with Home(tmp_path, Here()) as home:
        await home.told(Ready)
        portrait = str(home.job / "portrait.png")
        options = ClipOptions()
        await home.send(Prepare(engine="preview", portrait=portrait, portrait_sha256="p", box=None, options=options))
        assert (await home.told(Prepared)).problem is None


@pytest.mark.parametrize("how", ["child", "signal", "let go", "abort"])
async def test_it_ends(tmp_path: Path, houses: Path, how: str) -> None:
    """By its own death, by the daemon's signal, or since the daemon has let go of it; of the attempt nothing stays."""
    async with Home(tmp_path, places := Here()) as home:
        pid = (await home.told(messages.Hello)).pid
        await home.told(Ready)
        await home.run(far_child.DIES if how == "child" else far_child.WAITS)
        if how != "child":
            await home.told(Moved)
        if how == "let go":
            home.signals.feed_eof()
        elif how != "child":
            home.signals.feed_data(bytes([signal.SIGABRT if how == "abort" else signal.SIGKILL]))
        assert await home.ending() == how_it_ended(-(signal.SIGABRT if how == "abort" else signal.SIGKILL))
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert home.files() <= {"thumbnail.jpg"}
        assert places.ended
    assert not list(houses.iterdir())


async def test_nobody_fetches_words(tmp_path: Path, houses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand that nobody asks any more ends its child and itself."""
    left = asyncio.Event()
    monkeypatch.setattr(node, "PATIENCE", 0.1)
    monkeypatch.setattr(node, "LEASE", 2.0)
    monkeypatch.setattr(os, "_exit", lambda code: left.set())
    places = Here()
    async with Home(tmp_path, places) as home:
        pid = (await home.told(messages.Hello)).pid

        async def silent(method: str, *arguments: bytes | str | int) -> bytes:
            await left.wait()
            raise ConnectionError("gone")

        monkeypatch.setattr(places, "call", silent)
        await asyncio.wait_for(left.wait(), 10)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not list(houses.iterdir())


def test_houses_of_the_dead_are_swept(houses: Path) -> None:
    """Those of the living are left alone."""
    living, lock = node.house()
    (houses / "left").mkdir()
    (houses / "left" / "clip.mp4").touch()
    newest, other = node.house()
    assert set(houses.iterdir()) == {living, newest}
    os.close(lock)
    os.close(other)


def piece(data: bytes = b"x", file: Name = "stream", job: str = JOB, *, last: bool = False) -> Grown:
    return Grown(job=job, file=file, data=data, last=last)


HOSTILE: dict[str, bytes | list[Word]] = {
    "nonsense": b"\xc1nonsense",
    "another kind": encode([piece()]).replace(b"Grown", b"Birth"),
    "a name of its own": encode([piece(file="stream")]).replace(b"stream", b"../../"),
    "another job": [piece(job="video_2")],
    "a path for a job": [piece(job="../../../etc")],
    "too large a piece": [piece(bytes((1 << 20) + 1))],
    "no clip": [Told(Moved(job=JOB, event=DONE))],
    "half a clip": [piece(file="clip"), Told(Moved(job=JOB, event=DONE))],
    "two thumbnails": [piece(file="thumbnail", last=True), piece(file="thumbnail", last=True)],
    "an end of another": [Told(Moved(job="video_2", event=DONE))],
    "a report of a megabyte": [Told(messages.Alive("x" * (1 << 20)))],
    "too much at once": bytes((8 << 20) + 1),
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
async def test_what_no_node_may_say(tmp_path: Path, said: bytes | list[Word]) -> None:
    """It ends the incarnation, and nothing is on the daemon's disk."""
    async with Home(tmp_path, Scripted(said)) as home:
        await home.run()
        assert "sent what none should" in (await home.ending()).words
        assert home.files() <= {"thumbnail.jpg"}
        assert {path.name for path in tmp_path.rglob("*")} <= {
            "jobs", "video_1", "portrait.png", "speech.flac", "thumbnail.jpg"
        }  # fmt: skip


@pytest.mark.parametrize("file", ["stream", "clip", "manifest"])
async def test_no_more_than_the_job_may_have(tmp_path: Path, file: Name) -> None:
    """The node is told to cancel, the job has failed for want of room, and the worker goes on."""
    much: list[list[Word]] = [[piece(bytes(1 << 20), file)] * 4] * 20
    ends: list[Word] = [Told(Moved(job=JOB, event=life.Cancelled())), Ended(how_it_ended(0))]
    async with Home(tmp_path, places := Scripted(*much, ends)) as home:
        await home.run(most=3 << 20)
        failed = (await home.told(Moved)).event
        assert isinstance(failed, life.Failed)
        assert failed.code == "quota_exceeded"
        assert places.orders[1:] == [messages.Cancel(JOB, 1)]
        assert await home.ending() == how_it_ended(0)
        assert not home.files()


async def test_inputs_that_are_gone(tmp_path: Path) -> None:
    """Fail the job and not the worker, whose node never hears of it."""
    async with Home(tmp_path, places := Scripted()) as home:
        (home.job / "speech.flac").unlink()
        await home.run()
        assert isinstance((await home.told(Moved)).event, life.Failed)
        assert not places.orders


async def test_a_node_whose_disk_is_full(tmp_path: Path, houses: Path) -> None:
    """Fails the job as a full disk here would, and says whose it is; the worker goes on, and nothing stays there."""
    async with Home(tmp_path, Here()) as home:
        pid = (await home.told(messages.Hello)).pid
        await home.told(Ready)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
        try:
            await home.run()
            failed = (await home.told(Moved)).event
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert isinstance(failed, life.Failed)
        assert f"node {socket.gethostname()}: {os.strerror(errno.EFBIG)}" in failed.message
        assert not list(houses.glob(f"*/{JOB}"))
        os.kill(pid, 0)
        await home.run(far_child.GOOD, attempt=2)
        assert isinstance((await home.told(Moved)).event, life.FirstFrame)


@pytest.mark.parametrize("version", [None, "0.0.1"])
async def test_another_version(tmp_path: Path, version: str | None) -> None:
    """Is refused in words, and no restart would help."""
    async with Home(tmp_path, Scripted(version=version)) as home:
        refused = await home.told(NotReady)
        assert refused.final
        assert "node elsewhere has" in refused.reason
        assert (version or "no echod") in refused.reason
        assert __version__ in refused.reason
        assert await home.ending() == how_it_ended(0)


async def test_a_node_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incarnation, "SILENCE", 0.1)
    async with Home(tmp_path, Scripted()) as home:
        assert await home.ending() == Ending("lost", "lost: no word from node elsewhere for 0 s")
