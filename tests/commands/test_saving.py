"""Clips are saved whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.client.client import Client
from echod.commands.saving import Target
from echod.errors import EchodError
from tests.drivers.command import ECHOD
from tests.stand_ins.stub import Handler, Stub, says, serving, video

CONTENT = "GET /v1/videos/video_1/content"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        server.on(CONTENT, lambda handler: handler.answer(b"CLIP"))
        yield server


def save(stub: Stub, named: Path | None, stem: str = "speech") -> Path:
    with Client(stub.url) as client:
        return Target(named, stem).save(client, "video_1")


def test_names_of_our_own(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is taken, by a dangling link even, is passed over."""
    monkeypatch.chdir(tmp_path)
    Path("a.b-1.mp4").symlink_to("nowhere")
    assert [save(stub, None, "a.b") for _ in range(3)] == [Path("a.b.mp4"), Path("a.b-2.mp4"), Path("a.b-3.mp4")]
    assert Path("a.b-3.mp4").read_bytes() == b"CLIP"


def test_long_names(tmp_path: Path) -> None:
    """A name as long as file names can be is taken; one of our own making is cut to fit, with its number too."""
    longest = tmp_path / ("语" * 83 + "12.mp4")
    assert len(os.fsencode(longest.name)) == 255
    assert Target(longest, "speech").write(b"CLIP") == longest
    names = [Target(tmp_path, longest.stem).write(b"CLIP").name for _ in range(2)]
    assert names == ["语" * 80 + ".mp4", "语" * 80 + "-1.mp4"]


def test_permissions(stub: Stub, tmp_path: Path) -> None:
    """A clip is readable to whom the umask lets it be, like any file."""
    (tmp_path / "like").touch()
    assert save(stub, tmp_path / "clip.mp4").stat().st_mode == (tmp_path / "like").stat().st_mode


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    """The directory is tried before anything is asked of the daemon."""
    with pytest.raises(EchodError, match="nowhere") as caught:
        Target(tmp_path / "nowhere/clip.mp4", "speech").check()
    assert caught.value.exit_code == 2
    Target(tmp_path / "clip.mp4", "speech").check()
    assert list(tmp_path.iterdir()) == []


def test_a_link(tmp_path: Path) -> None:
    """What a link points to is replaced, on its own disk, or made; the link stays."""
    (tmp_path / "there").mkdir()
    for name in ("old.mp4", "new.mp4"):
        (tmp_path / name).symlink_to(f"there/{name}")
    (tmp_path / "there/old.mp4").write_bytes(b"old")
    for name in ("old.mp4", "new.mp4"):
        target = Target(tmp_path / name, "speech")
        target.check()
        assert target.write(b"CLIP") == tmp_path / name
        assert (tmp_path / name).is_symlink() and (tmp_path / "there" / name).read_bytes() == b"CLIP"
    assert len(list(tmp_path.rglob("*"))) == 5


def test_a_pipe(stub: Stub, tmp_path: Path) -> None:
    """A pipe is written to and stays one; whether it can be is found out without opening it."""
    os.mkfifo(pipe := tmp_path / "pipe")
    Target(pipe, "speech").check()
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:  # noqa: PTH123
        assert save(stub, pipe) == pipe
        assert reader.read() == b"CLIP"
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_stdout_is_for_the_path() -> None:
    """`-o -` is refused, and makes no file of that name."""
    with pytest.raises(EchodError, match="stdout is for the path") as refused:
        Target(Path("-"), "speech")
    assert refused.value.exit_code == 2


def test_a_full_disk(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while the clip is saved is told, with the way to the clip."""

    class Full(Target):
        def _free_name(self) -> Path:
            raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    with Client(stub.url) as client, pytest.raises(EchodError, match="echod fetch video_1") as caught:
        Full(None, "speech").save(client, "video_1")
    assert caught.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_download(stub: Stub, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """A command that is ended in the middle of a download leaves nothing."""
    begun, ended = threading.Event(), threading.Event()

    def stall(handler: Handler) -> None:
        handler.answer(b"CL", length=1000)
        begun.set()
        ended.wait(60)

    stub.on(CONTENT, stall)
    command = [str(ECHOD), "fetch", "video_1", "--url", stub.url]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert begun.wait(60)
        assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
        process.send_signal(number)
        process.wait(60)
        ended.set()
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert process.returncode == code
    assert list(tmp_path.iterdir()) == []


def test_interrupt_while_the_job_is_handed_in(stub: Stub, tmp_path: Path) -> None:
    """Ctrl-C before the daemon has answered cancels the job that comes of it all the same."""
    begun, interrupted = threading.Event(), threading.Event()

    def slowly(handler: Handler) -> None:
        begun.set()
        assert interrupted.wait(60)
        says(video("queued"))(handler)

    stub.on("POST /v1/videos", slowly)
    stub.on("POST /v1/videos/video_1/cancel", says(video("cancelled")))
    (tmp_path / "me.png").touch()
    command = [str(ECHOD), "submit", "me.png", "me.png", "--url", stub.url]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert begun.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "will cancel" in process.stderr.readline()
        interrupted.set()
        assert "echod: cancelled video_1\n" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert len(stub.requests("POST /v1/videos/video_1/cancel")) == 1
