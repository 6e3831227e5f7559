"""Jobs under kills at random moments, and the account of them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import av

from echod.client.client import Video
from tests.drivers.running import RunningDaemon, gone
from tests.making.media import EXAMPLES

SECONDS, FPS = 4.0, 24
TERMINAL = {"completed", "failed", "cancelled"}
DEATH = 30.0  # seconds that a worker may take to die with what was killed

Wanted: TypeAlias = Callable[[dict[str, Any]], bool]  # of a device as /readyz shows it


def kill_process(device: dict[str, Any]) -> None:
    os.kill(device["pid"], signal.SIGKILL)


class Ordeal:
    """Submits jobs, kills at random moments, and keeps account."""

    def __init__(self, daemon: RunningDaemon, speech: Path, dice: random.Random) -> None:
        self.daemon = daemon
        self.speech = speech
        self.dice = dice
        self.hits: Counter[str] = Counter()
        self.accepted: list[str] = []

    def submit(self, count: int, **options: Any) -> None:
        """All of one upload, so that accepting them takes less time than running them."""
        with self.daemon.http() as http:
            request: dict[str, Any] = {"size": "128x128", **options}
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
        self.hit(lambda device: device["state"] == "busy")

    def hit(self, wanted: Wanted, kill: Callable[[dict[str, Any]], None] = kill_process) -> None:
        """Kill one of those that are wanted, with a job."""
        pause = threading.Event()
        while (held := self.kill_one_of(wanted, kill)) is None:
            self.go_on()
            pause.wait(0.02)
        self.hits[held["job"]] += 1

    def kill_one_of(
        self, wanted: Wanted, kill: Callable[[dict[str, Any]], None] = kill_process
    ) -> dict[str, Any] | None:
        """The worker that was killed, as it was then; it is stopped first, so that the job it dies under is known."""
        if not (those := [device for device in self.daemon.devices() if device["pid"] and wanted(device)]):
            return None
        worker = self.dice.choice(those)
        os.kill(worker["pid"], signal.SIGSTOP)
        held: dict[str, Any] = self.daemon.devices()[worker["worker"]]
        if held["pid"] != worker["pid"] or not wanted(held):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker["pid"], signal.SIGCONT)  # it ended its job, or its life, just before
            return None
        kill(held)
        gone([worker["pid"]], DEATH)
        return held

    def go_on(self) -> None:
        """Called while there is nothing to kill."""
        assert self.ended() < len(self.accepted), "nothing is left to kill"

    def kill_daemon(self) -> None:
        self.daemon.kill()  # asserts that its children die with it
        self.daemon.start()


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        assert container.streams.audio
        return sum(1 for _ in container.decode(video=0))
