"""Clips made on a Ray cluster by the installed daemon, and what becomes of them when something there dies."""

from __future__ import annotations

import io
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.running import RunningDaemon, gone
from tests.making.media import EXAMPLES, write_wav
from tests.making.playback import frame_hashes

SECONDS = 6


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", seconds=SECONDS)


def test_a_clip_is_the_same_far_away(far_daemon: RunningDaemon, speech: Path) -> None:
    """Of two jobs at once each device makes one: the same frames, and streamed while they are made, from afar too."""
    with ThreadPoolExecutor() as threads:
        made = dict(threads.map(lambda _: _watched(far_daemon, speech), range(2)))
    assert made["cpu"] == made["ray/cpu"]
    assert len(made["cpu"]) == SECONDS * 24


def _watched(daemon: RunningDaemon, speech: Path) -> tuple[str, list[str]]:
    """Which device made it, and its frames."""
    with daemon.client() as client, daemon.http() as http:
        video = client.submit(EXAMPLES / "portrait.png", speech, size="128x128", lossless=True)["id"]
        with http.stream("GET", f"/v1/videos/{video}/stream") as stream:
            growing = "etag" not in stream.headers
            streamed = stream.read()
        job = http.get(f"/v1/videos/{video}").json()
        assert job["status"] == "completed", job
        clip = http.get(f"/v1/videos/{video}/content").read()
        assert http.get(f"/v1/videos/{video}/content?variant=thumbnail").status_code == 200
    device = job["echod"]["device"]
    assert growing or device == "cpu", "it was made before it could be watched"
    left = {path.name for path in (daemon.state_dir / "jobs" / video).iterdir()}
    assert left == {"portrait.png", "speech.flac", "clip.mp4", "thumbnail.jpg", "manifest.json"}
    frames = frame_hashes(io.BytesIO(clip))
    assert device == "cpu" or frame_hashes(io.BytesIO(streamed)) == frames
    return device, frames


@pytest.mark.long
def test_an_actor_is_killed(far_daemon: RunningDaemon, speech: Path) -> None:
    """Its job is made by another device, and its own comes back; nothing of it stays on its node."""
    far_daemon.until_idle()
    far = device(far_daemon)
    assert far["node"]
    actor = parent(far["pid"])
    with far_daemon.client() as client:
        videos = [client.submit(EXAMPLES / "portrait.png", speech, size="256x256")["id"] for _ in range(2)]
        while "ray/cpu" not in {client.video(video)["echod"]["device"] for video in videos}:
            far_daemon.notice()
        os.kill(actor, signal.SIGKILL)
        for video in videos:
            *_, last = client.follow(video)
            assert last["video"]["status"] == "completed"
    gone([actor, far["pid"]])
    far_daemon.until_idle()
    assert device(far_daemon)["restarts"] == 1
    assert device(far_daemon)["deaths"] == {"lost": 1}


@pytest.mark.long
def test_nothing_is_left(ray: None, tmp_path: Path) -> None:
    """A link that is killed takes its own Ray with it, and there is a new one; so does the daemon, for good."""
    with RunningDaemon(tmp_path, "--devices", "ray:1/cpu") as daemon:
        daemon.until_idle()
        everything = session(daemon)
        assert len(everything) > 8
        os.kill(everything[0], signal.SIGKILL)
        gone(everything)
        daemon.until("STATUS", "starting")
        daemon.until_idle()
        assert device(daemon)["restarts"] == 1
        everything, ours = session(daemon), house(daemon)
        assert ours.exists()
        daemon.kill()
        gone(everything)
        while ours.exists():
            time.sleep(0.01)


def device(daemon: RunningDaemon) -> dict[str, Any]:
    return next(each for each in daemon.devices() if each["device"] == "ray/cpu")


def session(daemon: RunningDaemon) -> list[int]:
    """Everything that is there for the sake of Ray, the link first: all in a session of its own."""
    link = os.getsid(device(daemon)["pid"])
    return [link, *(pid for pid in pids() if pid != link and session_of(pid) == link)]


def house(daemon: RunningDaemon) -> Path:
    """Where that Ray keeps everything."""
    environ = Path(f"/proc/{device(daemon)['pid']}/environ").read_bytes().split(b"\0")
    return Path(next(each for each in environ if each.startswith(b"TMPDIR=")).decode().removeprefix("TMPDIR="))


def pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
