"""EchoMimic with small random weights through the installed daemon."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from echod.inference.echomimic.tiny import init_tiny
from tests.drivers.running import RunningDaemon, gone
from tests.making.media import EXAMPLES, write_wav

SECONDS, STEPS = 0.75, 2
CALLS = STEPS * 3  # windows of the frames that the model makes for that long


@pytest.fixture(scope="module")
def echomimic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    directory = tmp_path_factory.mktemp("echomimic")
    init_tiny(directory / "weights")
    flags = ("--devices", "cpu", "--engine", "echomimic", "--weights", str(directory / "weights"))
    with RunningDaemon(directory, *flags) as daemon:
        daemon.until_idle()
        yield daemon


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_wav(tmp_path_factory.mktemp("speech") / "speech.wav", SECONDS).read_bytes()


def submit(daemon: RunningDaemon, speech: bytes) -> str:
    with daemon.http() as http:
        answer = http.post(
            "/v1/videos",
            data={"size": "128x128", "steps": str(STEPS), "lossless": "true"},
            files={"input_reference": (EXAMPLES / "portrait.png").read_bytes(), "audio_reference": speech},
        )
        return str(answer.raise_for_status().json()["id"])


def until_half_way(daemon: RunningDaemon, video: str) -> None:
    with daemon.client() as client:
        for event in client.follow(video):
            extras = event["video"]["echod"]
            if extras["windows_done"] * 3 > extras["windows_total"] > 0:
                return
    raise AssertionError("it ended first")


def running(daemon: RunningDaemon, video: str) -> dict[str, Any]:
    return next(device for device in daemon.devices() if device["job"] == video)


def ended(daemon: RunningDaemon, video: str) -> dict[str, Any]:
    with daemon.client() as client:
        return dict([event["video"] for event in client.follow(video)][-1])


def content(daemon: RunningDaemon, video: str, what: str = "content") -> io.BytesIO:
    with daemon.http() as http:
        return io.BytesIO(http.get(f"/v1/videos/{video}/{what}").raise_for_status().content)


def frames(clip: io.BytesIO) -> NDArray[np.uint8]:
    with av.open(clip, "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def calm(echomimic: RunningDaemon, speech: bytes) -> str:
    """A job that nothing disturbs."""
    return submit(echomimic, speech)


def test_clip_is_streamed_and_says_what_made_it(echomimic: RunningDaemon, calm: str) -> None:
    """The main engine makes the clip; what is streamed is the clip; its metadata says that the weights are not real."""
    streamed = frames(content(echomimic, calm, "stream"))
    job = ended(echomimic, calm)
    assert (job["status"], job["model"], job["echod"]["windows_total"]) == ("completed", "echomimic", CALLS)
    assert {"face", "audio", "denoise", "decode", "mux", "first_frame"} <= job["echod"]["timings_ms"].keys()
    clip = content(echomimic, calm)
    assert len(streamed) == SECONDS * 24
    np.testing.assert_array_equal(streamed, frames(clip))
    clip.seek(0)
    with av.open(clip, "r") as container:
        comment = container.metadata["comment"]
    assert "AI-generated" in comment
    assert "not EchoMimic's" in comment


def test_worker_dies_half_way(echomimic: RunningDaemon, calm: str, speech: bytes) -> None:
    """The second attempt gives the same frames as an undisturbed job; the preview is there too; engines load once."""
    ended(echomimic, calm)
    for device in echomimic.devices():
        assert (device["engines"], device["loads"], device["epoch"]) == (["echomimic", "preview"], 1, 1)
    video = submit(echomimic, speech)
    until_half_way(echomimic, video)
    device = running(echomimic, video)
    os.kill(device["pid"], signal.SIGKILL)
    gone([device["pid"]])
    job = ended(echomimic, video)
    assert (job["status"], job["echod"]["attempt"]) == ("completed", 2)
    assert re.search(rf"the clip goes on where it was: \d+ of {CALLS} windows are done", echomimic.log.read_text())
    np.testing.assert_array_equal(frames(content(echomimic, video)), frames(content(echomimic, calm)))


def test_cancel_between_windows(echomimic: RunningDaemon, speech: bytes) -> None:
    """A running job ends within a window; the worker lives on."""
    video = submit(echomimic, speech)
    until_half_way(echomimic, video)
    device = running(echomimic, video)
    with echomimic.client() as client:
        client.cancel(video)
    assert ended(echomimic, video)["status"] == "cancelled"
    assert echomimic.devices()[device["worker"]]["pid"] == device["pid"]


def test_missing_weights(tmp_path: Path) -> None:
    """`serve --engine echomimic` without weights ends with 78 and says how to get them."""
    from tests.drivers.command import run_echod

    flags = ("--state-dir", tmp_path / "s", "--runtime-dir", tmp_path / "r", "--weights", tmp_path / "w")
    refused = run_echod("serve", "--engine", "echomimic", "--port", "0", *flags)
    assert refused.returncode == 78
    assert "echod weights pull echomimic" in refused.stderr
    assert "--engine preview" in refused.stderr
