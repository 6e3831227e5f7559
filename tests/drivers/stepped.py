"""`python -m tests.drivers.stepped DIRECTORY`: sets the clock of a machine of its own, by years, under a daemon.

`tests/chaos/test_clock.py` starts one. What was found is printed as lines of JSON.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from echod.errors import EchodError
from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES, write_wav
from tests.stand_ins import engine as scripted

SWEEPING = (sys.executable, "-m", "tests.stand_ins.sweeping")
DAY, YEAR = 86400.0, 365 * 86400.0
PASSWORD = "correct horse"


def step(seconds: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING


def until(holds: Callable[[], bool], what: str) -> None:
    deadline, pause = time.monotonic() + 120, threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"hangs: {what}"
        pause.wait(0.02)


def told(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


class Visit:
    """One daemon, with jobs whose end a test decides on."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.speech = write_wav(daemon.directory / "speech.wav")

    def submit(self, seed: int = scripted.GOOD) -> str:
        with self.daemon.client() as client:
            return client.submit(EXAMPLES / "portrait.png", self.speech, size="128x128", seed=seed)["id"]

    def statuses(self) -> dict[str, str]:
        with self.daemon.client() as client:
            return {video["id"]: video["status"] for video in client.videos("asc")}

    def open_gate(self, job: str) -> None:
        (self.daemon.state_dir / "jobs" / job / "gate").touch()

    def sweeps(self, times: int = 5) -> None:
        """Until the daemon has looked for what has expired so many times."""
        path = self.daemon.state_dir / "jobs"
        for _ in range(times):  # a sweep removes what an attempt left
            left = path / next(iter(self.statuses())) / "stream.9.mp4"
            left.touch()
            until(lambda left=left: not left.exists(), "a sweep")  # type: ignore[misc]

    def logged(self, words: str) -> bool:
        return words in self.daemon.log.read_text()


def jobs_and_queue(visit: Visit) -> None:
    """The clock is set while a job runs and others wait: all end, in order, each once."""
    for seconds in (3 * DAY, -3 * DAY, 10 * YEAR, -10 * YEAR):
        running, *waiting = visit.submit(scripted.GATED), visit.submit(), visit.submit()
        until(lambda running=running: visit.statuses()[running] == "in_progress", "the start of a job")  # type: ignore[misc]
        step(seconds)
        waiting.append(visit.submit())
        visit.open_gate(running)
        all_of_them = {running, *waiting}
        until(lambda them=all_of_them: {visit.statuses()[id] for id in them} == {"completed"}, f"jobs at {seconds}")  # type: ignore[misc]
        with visit.daemon.client() as client:
            videos = sorted((client.video(id) for id in all_of_them), key=lambda video: video["created_at"])
        told(step_days=seconds / DAY, attempts=[video["echod"]["attempt"] for video in videos])


def what_expires(visit: Visit) -> None:
    """A mistake of ten years, over a restart: nothing is deleted, and nobody is let in who should not be."""
    with visit.daemon.client() as client:
        client.add_account("anna", "admin", PASSWORD)
        token = client.create_token("hour", account="anna", expires_in=3600)["token"]
    with httpx.Client(base_url=visit.daemon.tcp, timeout=60) as http:
        http.post("/v1/account/login", json={"name": "anna", "password": PASSWORD}).raise_for_status()
        bearer = {"Authorization": f"Bearer {token}"}
        portrait = {"file": (EXAMPLES / "portrait.png").read_bytes()}
        file = http.post("/v1/files", files=portrait, data={"purpose": "user_data"}, headers=bearer).raise_for_status()
        session = dict(http.cookies)
        http.cookies.clear()
        signed = httpx.URL(file.json()["echod"]["url"]).raw_path.decode()

        def ways_in() -> list[int]:
            cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in session.items())}
            answers = [http.get("/v1/videos", headers=bearer), http.get("/v1/videos", headers=cookie), http.get(signed)]
            return [answer.status_code for answer in answers]

        told(ways_in=ways_in(), kept=kept(visit))
        step(10 * YEAR)
        until(lambda: visit.logged("the clock was set forward by 3650"), "the notice")
        visit.sweeps()
        told(ways_in=ways_in(), kept=kept(visit))
        visit.daemon.kill()
        visit.daemon.start()
        visit.sweeps()
        told(restarted=True, kept=kept(visit))
        step(-10 * YEAR)
        visit.sweeps()
    with httpx.Client(base_url=visit.daemon.tcp, timeout=60) as http:
        told(ways_in=ways_in(), kept=kept(visit))


def kept(visit: Visit) -> list[int]:
    return [len(list((visit.daemon.state_dir / name).iterdir())) for name in ("jobs", "files")]


def believed(visit: Visit) -> None:
    """A step that lasts is believed after its grace: what has expired goes, what was made since stays."""
    step(YEAR)
    until(lambda: visit.logged("set forward by 365"), "the notice")
    late = visit.submit()
    until(lambda: visit.statuses().get(late) == "completed", "a job after the step")
    until(lambda: visit.logged("taken to be right"), "the end of the grace")
    until(lambda: list(visit.statuses()) == [late], "the sweep")
    told(believed=True, kept=kept(visit))


def main(directory: Path) -> None:
    loopback_up()
    with RunningDaemon(directory, command=SWEEPING) as daemon:
        visit = Visit(daemon)
        jobs_and_queue(visit)
        what_expires(visit)
    with RunningDaemon(directory, command=SWEEPING, ECHOD_TEST_GRACE="3") as daemon:
        believed(Visit(daemon))
    log = daemon.log.read_text()
    told(tracebacks=log.count("Traceback"), stalls=log.count("no report for"))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (AssertionError, EchodError, httpx.HTTPError) as error:
        told(failed=str(error))
