"""The daemon dies at each point of a job's life, and the next one takes up what was promised, and nothing else."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from echod.jobs.job import TERMINAL
from tests.drivers.running import RunningDaemon, descendants, gone
from tests.making.media import EXAMPLES, write_wav
from tests.stand_ins.killed_at import POINTS

KEY = {"Idempotency-Key": "the only job"}
KEPT = {"portrait.png", "speech.flac", "clip.mp4", "thumbnail.jpg", "manifest.json"}


class Fate(NamedTuple):
    answered: bool  # whether the client was told that its job is accepted
    accepted: bool
    attempts: int  # that the job takes in all


FATES = {
    "inputs": Fate(answered=False, accepted=False, attempts=1),
    "row": Fate(answered=False, accepted=True, attempts=1),
    "attempt": Fate(answered=True, accepted=True, attempts=2),
    "sent": Fate(answered=True, accepted=True, attempts=2),
    "publish": Fate(answered=True, accepted=True, attempts=2),
    "done": Fate(answered=True, accepted=True, attempts=2),
    "terminal": Fate(answered=True, accepted=True, attempts=1),
}


def submit(daemon: RunningDaemon, speech: Path) -> str:
    """The id of the only job there is to be, whether it was accepted before or is now."""
    files = {
        "input_reference": ("p.png", (EXAMPLES / "portrait.png").read_bytes()),
        "audio_reference": ("s.wav", speech.read_bytes()),
    }
    with daemon.http() as http:
        answer = http.post("/v1/videos", files=files, data={"size": "128x128"}, headers=KEY)
    return str(answer.raise_for_status().json()["id"])


def until_killed(daemon: RunningDaemon, speech: Path) -> str | None:
    """The id that the client was told, if it was told one, when the daemon is dead with its children."""
    children = list(descendants(daemon.process.pid))
    told = None
    with contextlib.suppress(httpx.TransportError):
        told = submit(daemon, speech)
    assert daemon.process.wait(60) == -signal.SIGKILL
    gone(children)
    return told


def known(daemon: RunningDaemon) -> list[str]:
    with daemon.client() as client:
        return [video["id"] for video in client.videos()]


def ended(daemon: RunningDaemon, id: str) -> dict[str, Any]:
    with daemon.client() as client:
        for event in client.follow(id):
            if event["video"]["status"] == "completed":
                break
        return dict(client.video(id))


def stray(daemon: RunningDaemon, id: str) -> list[str]:
    """What lies in the state directory and belongs to no job or file."""
    jobs, files = daemon.state_dir / "jobs", daemon.state_dir / "files"
    left = [path.name for path in jobs.iterdir() if path.name != id] + [path.name for path in files.iterdir()]
    return left + sorted({path.name for path in (jobs / id).iterdir()} ^ KEPT)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at(tmp_path: Path, point: str) -> None:
    """An accepted job is made, once; one that was not leaves nothing; the client's retry makes no second one."""
    fate, speech = FATES[point], write_wav(tmp_path / "speech.wav")
    doomed = (sys.executable, "-m", "tests.stand_ins.killed_at")
    with RunningDaemon(tmp_path, "--log-json", command=doomed, ECHOD_TEST_POINT=point) as daemon:
        told = until_killed(daemon, speech)
    assert (told is not None) == fate.answered
    with RunningDaemon(tmp_path, "--log-json") as daemon:
        before = known(daemon)
        id = submit(daemon, speech)
        assert before == ([id] if fate.accepted else [])
        assert told in (None, id)
        video = ended(daemon, id)
        assert (video["status"], video["echod"]["attempt"]) == ("completed", fate.attempts)
        assert known(daemon) == [id]
        pause = threading.Event()
        while stray(daemon, id):  # sweeping is the background's work; the test's own time limit ends it
            pause.wait(0.05)
    lines = map(json.loads, daemon.log.read_text().splitlines())
    ends = Counter(line.get("job") for line in lines if line["message"].split()[0] in TERMINAL)
    assert ends == ({} if point == "terminal" else {id: 1})
    print(f"point={point} jobs=1 attempts={fate.attempts}")
