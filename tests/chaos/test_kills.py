"""Workers and daemons die while jobs run, and every accepted job is accounted for."""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from pathlib import Path

import pytest

from echod.client.client import Video
from echod.inference.echomimic.tiny import init_tiny
from tests.drivers.command import ECHOD
from tests.drivers.ordeal import FPS, SECONDS, TERMINAL, Ordeal, frames_of
from tests.drivers.running import LIGHT, RunningDaemon, descendants, gone
from tests.making.media import write_wav
from tests.making.playback import digest

INPUTS = {"portrait.png", "speech.flac"}


class SharedOrdeal(Ordeal):
    """Never more than two jobs at a time, so that a third worker can help; helpers are killed too."""

    def __init__(self, daemon: RunningDaemon, speech: Path, dice: random.Random, jobs: int) -> None:
        super().__init__(daemon, speech, dice)
        self.jobs = jobs
        self.helpers_killed = 0

    def go_on(self) -> None:
        if len(self.accepted) == self.jobs:
            super().go_on()
        elif len(self.accepted) - self.ended() < 2:
            self.submit(1, steps=2, lossless=True)

    def until_ended(self, count: int) -> None:
        pause = threading.Event()
        while self.ended() < count:
            if len(self.accepted) < self.jobs:
                self.go_on()
            pause.wait(0.05)

    def kill_helper(self) -> None:
        pause = threading.Event()
        while not self.kill_one_of(lambda device: device["state"] == "idle" and device["helping"] is not None):
            self.go_on()
            pause.wait(0.02)
        self.helpers_killed += 1


@pytest.mark.parametrize(
    ("command", "jobs", "worker_kills", "daemon_kills"),
    [
        pytest.param(LIGHT, 20, 4, 1, id="light"),
        pytest.param((ECHOD,), 200, 40, 10, id="real", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_every_accepted_job_is_accounted_for(
    tmp_path: Path, command: tuple[str | Path, ...], jobs: int, worker_kills: int, daemon_kills: int
) -> None:
    """Jobs on two CPU workers while workers and the daemon are killed: each ends once, and the clips play."""
    seed = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))
    print(f"ECHOD_CHAOS_SEED={seed}")
    dice = random.Random(seed)
    speech = write_wav(tmp_path / "speech.wav", seconds=SECONDS)
    kills = ["worker"] * worker_kills + ["daemon"] * daemon_kills
    dice.shuffle(kills)
    moments = sorted(dice.sample(range(jobs - 4), len(kills)))

    flags = ("--devices", "cpu,cpu", "--log-json")
    limits = {"ECHOD_JOBS_PER_ACCOUNT": str(jobs), "ECHOD_QUEUE_LIMIT": "1000"}
    with RunningDaemon(tmp_path, *flags, command=command, **limits) as daemon:
        ordeal = Ordeal(daemon, speech, dice)
        ordeal.submit(jobs)
        for moment, kill in zip(moments, kills, strict=True):
            ordeal.until_ended(moment)
            ordeal.kill_worker() if kill == "worker" else ordeal.kill_daemon()
        ordeal.until_ended(jobs)
        videos = ordeal.videos()
        log = daemon.log.read_text()

        assert set(videos) == set(ordeal.accepted)
        poisoned = [id for id, video in videos.items() if video["status"] != "completed"]
        for id in poisoned:
            assert ordeal.hits[id] >= 2, videos[id]
            error = videos[id]["error"]
            assert error is not None
            assert error["code"] == "poison"
        for id in set(videos) - set(poisoned):
            assert frames_of(daemon.state_dir / "jobs" / id / "clip.mp4") == SECONDS * FPS
        told = [line for line in map(json.loads, log.splitlines()) if line["message"].split(" ")[0] in TERMINAL]
        ends = Counter(line["job"] for line in told if "job" in line)
        assert max(ends.values()) == 1
    attempts = sum(video["echod"]["attempt"] for video in videos.values())
    print(f"jobs={jobs} worker_kills={worker_kills} daemon_kills={daemon_kills} {attempts=} poison={len(poisoned)}")


def strange(daemon: RunningDaemon, videos: dict[str, Video]) -> list[str]:
    """What lies in the job and runtime directories that nobody needs any more."""
    jobs = daemon.state_dir / "jobs"
    left = [path.name for path in jobs.iterdir() if path.name not in videos]
    for id, video in videos.items():
        made = {"clip.mp4", "thumbnail.jpg", "manifest.json"} if video["status"] == "completed" else set()
        left += [f"{id}/{path.name}" for path in (jobs / id).iterdir() if path.name not in INPUTS | made]
    sockets = {"echod.sock", "reports", *(f"{d['worker']}.{d['epoch']}" for d in daemon.devices())}
    return left + [path.name for path in daemon.runtime_dir.rglob("*") if path.is_socket() and path.name not in sockets]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_with_helpers(tmp_path: Path) -> None:
    """EchoMimic clips on three workers that help each other, while owners, helpers and the daemon are killed.

    Each job ends once, every clip has the frames of every other, nothing is left of their making, and nobody outlives
    the daemon.
    """
    seed = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))
    jobs = int(os.environ.get("ECHOD_CHAOS_JOBS", 200))
    print(f"ECHOD_CHAOS_SEED={seed} ECHOD_CHAOS_JOBS={jobs}")
    dice = random.Random(seed)
    init_tiny(tmp_path / "weights")
    kills = ["worker"] * (jobs // 10) + ["helper"] * (jobs // 5) + ["daemon"] * (jobs // 20)
    dice.shuffle(kills)
    moments = sorted(dice.sample(range(jobs - 4), len(kills)))
    flags = ("--devices", "cpu,cpu,cpu", "--engine", "echomimic", "--weights", str(tmp_path / "weights"), "--log-json")
    with RunningDaemon(tmp_path, *flags, ECHOD_JOBS_PER_ACCOUNT=str(jobs)) as daemon:
        ordeal = SharedOrdeal(daemon, write_wav(tmp_path / "speech.wav", seconds=0.5), dice, jobs)
        for moment, kill in zip(moments, kills, strict=True):
            ordeal.until_ended(moment)
            {"worker": ordeal.kill_worker, "helper": ordeal.kill_helper, "daemon": ordeal.kill_daemon}[kill]()
        ordeal.until_ended(jobs)
        videos, pause = ordeal.videos(), threading.Event()
        poisoned = {id for id, video in videos.items() if video["status"] != "completed"}
        clips = {digest(daemon.state_dir / "jobs" / id / "clip.mp4") for id in videos.keys() - poisoned}
        while strange(daemon, videos):  # sweeping is the background's work; the test's own time limit ends it
            pause.wait(0.2)
        helped = [video for video in videos.values() if len(video["echod"]["devices"]) > video["echod"]["attempt"]]
        resumed = sum(video["echod"]["windows_resumed"] for video in videos.values())
        workers = list(descendants(daemon.process.pid))
        daemon.stop()
        gone(workers)
        log = daemon.log.read_text()
    assert sorted(videos) == sorted(ordeal.accepted)
    assert all(ordeal.hits[id] >= 2 for id in poisoned)
    assert len(clips) == 1
    told = [line for line in map(json.loads, log.splitlines()) if line["message"].split(" ")[0] in TERMINAL]
    assert Counter(Counter(line["job"] for line in told if "job" in line).values()) == {1: jobs}
    assert helped
    attempts = sum(video["echod"]["attempt"] for video in videos.values())
    print(f"{jobs=} kills={dict(Counter(kills))} {attempts=} poison={len(poisoned)} helped={len(helped)} {resumed=}")
