"""Workers and daemons die while jobs run, and every accepted job is accounted for."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import av
import pytest

from echod.client.client import Video
from tests.drivers.command import ECHOD
from tests.drivers.running import LIGHT, RunningDaemon, gone
from tests.making.media import EXAMPLES, write_wav

SECONDS, FPS = 4.0, 24
TERMINAL = {"completed", "failed", "cancelled"}


class Ordeal:
    """Submits jobs, kills at random moments, and keeps account."""

    def __init__(self, daemon: RunningDaemon, speech: Path, dice: random.Random) -> None:
        self.daemon = daemon
        self.speech = speech
        self.dice = dice
        self.hits: Counter[str] = Counter()
        self.accepted: list[str] = []

    def submit(self, count: int) -> None:
        """All of one upload, so that accepting them takes less time than running them."""
        with self.daemon.http() as http:
            request: dict[str, Any] = {"size": "128x128"}
            for field, path in (("input_reference", EXAMPLES / "portrait.png"), ("audio_reference", self.speech)):
                answer = http.post("/v1/files", files={"file": path.read_bytes()}, data={"purpose": "user_data"})
                request[field] = {"file_id": answer.raise_for_status().json()["id"]}
            for _ in range(count):
                answer = http.post("/v1/videos", json=request).raise_for_status()
                self.accepted.append(answer.json()["id"])

    def videos(self) -> dict[str, Video]:
        with self.daemon.client() as client:
            return {video["id"]: video for video in client.videos()}

    def ended(self) -> int:
        return sum(video["status"] in TERMINAL for video in self.videos().values())

    def until_ended(self, count: int) -> None:
        pause = threading.Event()
        while self.ended() < count:
            pause.wait(0.05)

    def kill_worker(self) -> None:
        """Stopped first, so that the job it is killed under is known."""
        pause = threading.Event()
        while not self._kill_one_of(self.daemon.devices()):
            assert self.ended() < len(self.accepted), "nothing is left to kill"
            pause.wait(0.02)

    def _kill_one_of(self, devices: list[dict[str, Any]]) -> bool:
        busy = [device for device in devices if device["state"] == "busy"]
        if not busy:
            return False
        worker = self.dice.choice(busy)
        os.kill(worker["pid"], signal.SIGSTOP)
        held = self.daemon.devices()[worker["worker"]]
        if (held["pid"], held["state"]) != (worker["pid"], "busy"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker["pid"], signal.SIGCONT)  # it ended its job, or its life, just before
            return False
        self.hits[held["job"]] += 1
        os.kill(worker["pid"], signal.SIGKILL)
        gone([worker["pid"]])
        return True

    def kill_daemon(self) -> None:
        self.daemon.kill()  # asserts that its children die with it
        self.daemon.start()


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        assert container.streams.audio
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize(
    ("command", "jobs", "worker_kills", "daemon_kills"),
    [
        pytest.param(LIGHT, 40, 8, 2, id="light"),
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
