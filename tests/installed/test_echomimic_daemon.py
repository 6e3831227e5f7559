"""EchoMimic with small random weights through the installed daemon, and idle workers that help.

The same frames whoever computed them, and nothing lost when they die.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from echod.client.client import Video
from echod.inference.audio import Speech
from echod.inference.clip import make_clip
from echod.inference.contract import Options
from echod.inference.echomimic.engine import EchoMimicEngine
from echod.inference.echomimic.tiny import init_tiny
from echod.inference.machine import dtypes
from echod.jobs.folder import noted_progress
from tests.drivers.command import run_echod
from tests.drivers.running import DTYPE, RunningDaemon, gone
from tests.making.media import EXAMPLES, write_wav
from tests.making.playback import play

SECONDS, STEPS = 1.5, 3
WANTED = dtypes("cpu")[0] if DTYPE == "auto" else DTYPE


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("weights")
    init_tiny(directory)
    return directory


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[RunningDaemon]:
    flags = ("--devices", "cpu,cpu", "--engine", "echomimic", "--dtype", DTYPE, "--weights", str(weights))
    with RunningDaemon(tmp_path_factory.mktemp("daemon"), *flags) as daemon:
        daemon.until_idle()
        yield daemon


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("speech") / "speech.wav", SECONDS)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, weights: Path, speech: Path) -> NDArray[np.uint8]:
    """The frames that one process makes of it, with as many threads as a worker has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    try:
        out = tmp_path_factory.mktemp("alone")
        engine = EchoMimicEngine.load("echomimic", weights, "cpu", DTYPE)
        portrait = engine.prepare(np.asarray(Image.open(EXAMPLES / "portrait.png").convert("RGB")), (128, 128))
        make_clip(engine, portrait, Speech.open(speech), Options(steps=STEPS), out, lossless=True)
        return play(out / "clip.mp4").frames
    finally:
        torch.set_num_threads(threads)


def submit(daemon: RunningDaemon, speech: Path) -> str:
    with daemon.http() as http:
        answer = http.post(
            "/v1/videos",
            data={"size": "128x128", "steps": str(STEPS), "lossless": "true"},
            files={"input_reference": (EXAMPLES / "portrait.png").read_bytes(), "audio_reference": speech.read_bytes()},
        )
        return str(answer.raise_for_status().json()["id"])


def look(daemon: RunningDaemon, video: str) -> dict[str, Any]:
    with daemon.http() as http:
        return dict(http.get(f"/v1/videos/{video}").raise_for_status().json())


def followed(daemon: RunningDaemon, video: str) -> Video:
    """The job once it has ended."""
    with daemon.client() as client:
        return [event["video"] for event in client.follow(video)][-1]


def frames(daemon: RunningDaemon, video: str, into: Path) -> NDArray[np.uint8]:
    with daemon.http() as http:
        clip = into / "clip.mp4"
        clip.write_bytes(http.get(f"/v1/videos/{video}/content").raise_for_status().content)
        return play(clip).frames


def test_the_idle_one_helps(daemon: RunningDaemon, speech: Path, alone: NDArray[np.uint8], tmp_path: Path) -> None:
    """Both workers compute one clip, which has the frames of one made alone; both are said to have taken part."""
    before = sum(device["helped"] for device in daemon.devices())
    video = submit(daemon, speech)
    job = followed(daemon, video)
    assert (job["status"], job["echod"]["attempt"]) == ("completed", 1)
    assert {job["echod"]["device"]} < set(job["echod"]["devices"]) == {"cpu", "cpu#2"}
    while any(device["helping"] for device in daemon.devices()):
        daemon.notice()
    assert sum(device["helped"] for device in daemon.devices()) > before + 10
    assert np.array_equal(frames(daemon, video, tmp_path), alone)


def test_clip_is_streamed_and_says_what_made_it(daemon: RunningDaemon, speech: Path, tmp_path: Path) -> None:
    """What is streamed is the clip; its metadata says that the weights are not real. Engines are loaded once."""
    video = submit(daemon, speech)
    with daemon.http() as http:
        streamed = tmp_path / "streamed.mp4"
        streamed.write_bytes(http.get(f"/v1/videos/{video}/stream").raise_for_status().content)
    job = followed(daemon, video)
    assert (job["status"], job["model"]) == ("completed", "echomimic")
    assert {"face", "audio", "denoise", "decode", "mux", "first_frame"} <= job["echod"]["timings_ms"].keys()
    assert np.array_equal(play(streamed).frames, frames(daemon, video, tmp_path))
    assert len(play(streamed).frames) == SECONDS * 24
    with av.open(tmp_path / "clip.mp4", "r") as container:
        comment = container.metadata["comment"]
    assert "AI-generated" in comment
    assert "not EchoMimic's" in comment
    for device in daemon.devices():
        assert (device["engines"], device["loads"]) == (["echomimic", "preview"], 1)
        assert device["computed"]["echomimic"]["dtype"] == job["echod"]["dtype"] == WANTED
        assert "dtype" not in device["computed"]["preview"]


def test_cancel_between_windows(daemon: RunningDaemon, speech: Path) -> None:
    """A running job ends within a window; the worker lives on, and so does whoever helped."""
    video = submit(daemon, speech)
    with daemon.client() as client:
        next(event for event in client.follow(video) if event["video"]["echod"]["windows_done"])
        pids = [device["pid"] for device in daemon.devices()]
        client.cancel(video)
    assert followed(daemon, video)["status"] == "cancelled"
    assert [device["pid"] for device in daemon.devices()] == pids


def test_missing_weights(tmp_path: Path) -> None:
    """`serve --engine echomimic` without weights ends with 78 and says how to get them."""
    flags = ("--state-dir", tmp_path / "s", "--runtime-dir", tmp_path / "r", "--weights", tmp_path / "w")
    refused = run_echod("serve", "--engine", "echomimic", "--port", "0", *flags)
    assert refused.returncode == 78
    assert "echod weights pull echomimic" in refused.stderr
    assert "--engine preview" in refused.stderr


@pytest.mark.long
def test_helpers_that_die(daemon: RunningDaemon, speech: Path, alone: NDArray[np.uint8], tmp_path: Path) -> None:
    """What a helper was at is done by another; the attempt is the first, and after two deaths the job runs alone."""
    video, killed = submit(daemon, speech), 0
    with daemon.client() as client:
        for event in client.follow(video):
            job = event["video"]
            for device in daemon.devices():
                if device["helping"] == video:
                    os.kill(device["pid"], signal.SIGKILL)
                    gone([device["pid"]])
                    killed += 1
    assert (job["status"], job["echod"]["attempt"]) == ("completed", 1)
    assert killed in (1, 2)
    assert np.array_equal(frames(daemon, video, tmp_path), alone)
    daemon.until_idle()


@pytest.mark.long
def test_the_owner_dies(daemon: RunningDaemon, speech: Path, alone: NDArray[np.uint8], tmp_path: Path) -> None:
    """Another worker goes on with what all of them have computed, and progress with what was shown of it."""
    video, shown = submit(daemon, speech), [0]
    with daemon.client() as client:
        for event in client.follow(video):
            shown.append((job := event["video"])["progress"])
            if job["echod"]["attempt"] == 1 and job["echod"]["windows_done"] * 2 > job["echod"]["windows_total"] > 0:
                owner = next(device for device in daemon.devices() if device["job"] == video)
                os.kill(owner["pid"], signal.SIGKILL)
                gone([owner["pid"]])
                assert 100 * noted_progress(daemon.state_dir / "jobs" / video) >= job["progress"]
                break
        shown += [(job := event["video"])["progress"] for event in client.follow(video)]
    assert shown == sorted(shown)
    assert (job["status"], job["echod"]["attempt"]) == ("completed", 2)
    assert job["echod"]["windows_resumed"] * 2 > job["echod"]["windows_total"]
    assert np.array_equal(frames(daemon, video, tmp_path), alone)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_of_it_together(tmp_path: Path, weights: Path, speech: Path, alone: NDArray[np.uint8]) -> None:
    """Owners, helpers and the daemon are killed anywhere: nothing is lost or doubled, and every clip has its frames."""
    dice = random.Random(seed := int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32))))
    kills: Counter[str] = Counter()
    flags = ("--devices", "cpu,cpu", "--engine", "echomimic", "--dtype", DTYPE, "--weights", str(weights))
    with RunningDaemon(tmp_path, *flags) as daemon:
        daemon.until_idle()
        videos = []
        for _ in range(6):  # one at a time, or nobody would have time to help
            videos.append(video := submit(daemon, speech))
            planned, shown = dice.sample(["owner", "helper", "helper", "daemon"], 2), [0]
            while (job := look(daemon, video))["status"] in ("queued", "in_progress"):
                shown.append(job["progress"])
                assert shown == sorted(shown)
                if not planned:
                    threading.Event().wait(0.05)
                    continue
                kind, devices = planned[0], daemon.devices()
                target = [d for d in devices if d["helping" if kind == "helper" else "job"] == video]
                if not target or dice.random() < 0.8:
                    threading.Event().wait(0.05)
                    continue
                if kind == "daemon":
                    daemon.kill()
                    daemon.start()
                    daemon.until_idle()
                else:
                    os.kill(target[0]["pid"], signal.SIGKILL)
                    gone([target[0]["pid"]])
                kills[planned.pop(0)] += 1
            assert job["status"] == "completed", job
            assert np.array_equal(frames(daemon, video, tmp_path), alone)
            assert not (daemon.state_dir / "jobs" / video / "board").exists()
        with daemon.client() as client:
            assert sorted(job["id"] for job in client.videos()) == sorted(videos)
    print(f"ECHOD_CHAOS_SEED={seed} jobs={len(videos)} kills={dict(kills)}")
    assert kills.total() >= 6
