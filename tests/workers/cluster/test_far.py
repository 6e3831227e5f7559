"""Clips made on a Ray cluster by the installed daemon, and what becomes of them when something there dies."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES, write_wav
from tests.making.playback import frame_hashes


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", seconds=8.0)


def test_a_clip_is_the_same_far_away(far_daemon: RunningDaemon, speech: Path) -> None:
    """Of two jobs at once each device makes one: the same frames, and streamed while they are made, from afar too."""
    with far_daemon.client() as client, ThreadPoolExecutor() as threads:
        portrait = EXAMPLES / "portrait.png"
        videos = [client.submit(portrait, speech, size="256x256", lossless=True)["id"] for _ in range(2)]
        made = dict(threads.map(partial(_watched, far_daemon), videos))
    assert made["cpu"] == made["ray/cpu"]
    assert len(made["cpu"]) == 8 * 24


def _watched(daemon: RunningDaemon, video: str) -> tuple[str, list[str]]:
    """Which device made it, and its frames."""
    with daemon.http() as http:
        with http.stream("GET", f"/v1/videos/{video}/stream") as stream:
            assert stream.headers["cache-control"] == "no-store", "it was made before it could be watched"
            streamed = frame_hashes(io.BytesIO(stream.read()))
        job = http.get(f"/v1/videos/{video}").json()
        assert job["status"] == "completed", job
        frames = frame_hashes(io.BytesIO(http.get(f"/v1/videos/{video}/content").read()))
        assert frames == streamed
        assert http.get(f"/v1/videos/{video}/content?variant=thumbnail").status_code == 200
    left = {path.name for path in (daemon.state_dir / "jobs" / video).iterdir()}
    assert left == {"portrait.png", "speech.flac", "clip.mp4", "thumbnail.jpg", "manifest.json"}
    return job["echod"]["device"], frames
