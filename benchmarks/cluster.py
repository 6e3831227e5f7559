"""What a device on a Ray cluster costs beside one here, and what of the daemon gives out first with many.

    python -m benchmarks.cluster [--clips 12]

One daemon with `cpu` and one with `ray:1/cpu` of a Ray of its own on this machine, in turns: from submitting a preview
clip to the first byte of its stream, then clips a second in a flood, the CPU time that daemon and link take of it, and
the bytes of files that cross. Then what idle devices cost the link, what a look at all devices costs the daemon, and
how many commits a second the journal of this disk makes. The last table is computed of these.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import machine
from echod.config import Settings
from echod.jobs.desk import Desk
from echod.jobs.queue import JobQueue
from echod.journal import Journal
from echod.workers.fleet import Fleet
from echod.workers.seat import Seat
from tests.drivers.running import RunningDaemon, descendants
from tests.making.config import make_config
from tests.making.jobs import job
from tests.making.media import EXAMPLES, write_wav

SECONDS = 2.0  # of speech
COMMITS_A_JOB = 1.6  # in a flood: docs/performance.md, Dispatch
LOOKS_A_JOB = 3  # the fleet's dispatch looks at all workers when a job comes, begins and ends
IDLE = 10.0  # seconds
TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Of one clip: seconds, and CPU seconds."""

    first_byte: float
    clips_a_second: float
    daemon: float
    link: float


@contextlib.contextmanager
def running(devices: str, count: int = 256) -> Iterator[RunningDaemon]:
    with (
        tempfile.TemporaryDirectory() as directory,
        RunningDaemon(Path(directory), "--devices", devices, ECHOD_JOBS_PER_ACCOUNT=str(count)) as daemon,
    ):
        daemon.until_idle()
        yield daemon


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def link_of(daemon: RunningDaemon) -> int | None:
    children = descendants(daemon.process.pid)
    return next((pid for pid in children if b"cluster.link" in Path(f"/proc/{pid}/cmdline").read_bytes()), None)


def costs(daemon: RunningDaemon, speech: Path, clips: int) -> tuple[Cost, list[str]]:
    request: dict[str, Any] = {"size": "256x256"}
    with daemon.http() as http:
        for field, path in (("input_reference", EXAMPLES / "portrait.png"), ("audio_reference", speech)):
            answer = http.post("/v1/files", files={"file": path.read_bytes()}, data={"purpose": "user_data"})
            request[field] = {"file_id": answer.raise_for_status().json()["id"]}
        firsts, jobs = [], []
        for _ in range(clips):
            began = time.monotonic()
            jobs.append(http.post("/v1/videos", json=request).raise_for_status().json()["id"])
            with http.stream("GET", f"/v1/videos/{jobs[-1]}/stream") as stream:
                pieces = stream.iter_raw()
                next(pieces)
                firsts.append(time.monotonic() - began)
                for _ in pieces:
                    pass
        link = link_of(daemon)
        before = cpu_seconds(daemon.process.pid), cpu_seconds(link) if link else 0.0
        began = time.monotonic()
        flood = [http.post("/v1/videos", json=request).raise_for_status().json()["id"] for _ in range(clips)]
    with daemon.client() as client:
        while client.video(flood[-1])["status"] != "completed":  # the last to be made; asking costs the daemon time
            time.sleep(0.5)
    took = time.monotonic() - began
    after = cpu_seconds(daemon.process.pid), cpu_seconds(link) if link else 0.0
    spent = [(later - earlier) / clips for earlier, later in zip(before, after, strict=True)]
    return Cost(statistics.median(firsts), clips / took, *spent), jobs


def crossed(daemon: RunningDaemon, job: str) -> tuple[int, int]:
    """Bytes there and back: the stream has about the clip's, which follows it whole."""
    directory = daemon.state_dir / "jobs" / job
    size = {path.name: path.stat().st_size for path in directory.iterdir()}
    back = 2 * size["clip.mp4"] + size["thumbnail.jpg"] + size["manifest.json"]
    return size["portrait.png"] + size["speech.flac"], back


def idle_cost() -> float:
    """CPU seconds of the link a second and idle device: the slope between one and five."""
    spent = []
    for count in (1, 5):
        with running(f"ray:{count}/cpu") as daemon:
            link = link_of(daemon)
            assert link
            before = cpu_seconds(link)
            time.sleep(IDLE)
            spent.append((cpu_seconds(link) - before) / IDLE)
    return (spent[1] - spent[0]) / 4


def busy_cost(speech: Path) -> tuple[float, float]:
    """CPU seconds of daemon and link a second while one device there makes a long clip that nobody watches."""
    with running("ray:1/cpu") as daemon, daemon.client() as client:
        video = client.submit(EXAMPLES / "portrait.png", speech, size="256x256")["id"]
        while client.video(video)["progress"] < 1:
            time.sleep(0.5)
        link = link_of(daemon)
        assert link
        before, began = (cpu_seconds(daemon.process.pid), cpu_seconds(link)), time.monotonic()
        time.sleep(IDLE)
        took = time.monotonic() - began
        assert client.video(video)["status"] == "in_progress", "a longer clip is needed"
        after = cpu_seconds(daemon.process.pid), cpu_seconds(link)
        return (after[0] - before[0]) / took, (after[1] - before[1]) / took


async def looks(counts: tuple[int, ...]) -> tuple[list[float], float]:
    """CPU seconds of a look of the dispatch where so many workers are busy and a job waits; commits a second."""
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(make_config(Path(directory)))
        settings.now.state_dir.mkdir(parents=True)
        journal = Journal(Path(directory, "journal"))
        journal.open()
        desk = Desk(settings, journal, ("preview",), boot=await journal.boot())
        desk.queue = JobQueue(lambda job: 0.0)
        desk.queue.push(job())
        took = []
        for count in counts:
            fleet = Fleet(settings, desk, ("ray",) * count)
            for worker in fleet.workers:
                worker.seat = Seat(ready=True, leaving=True)
            began = time.process_time()
            for _ in range(100):
                fleet.wake()
            took.append((time.process_time() - began) / 100)
        began = time.perf_counter()
        for number in range(200):
            await journal.set_counters({"benchmark": number})
        rate = 200 / (time.perf_counter() - began)
        await journal.close()
        return took, rate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=12)
    clips = parser.parse_args().clips
    print(machine())
    with tempfile.TemporaryDirectory() as directory:
        speech = write_wav(Path(directory, "speech.wav"), seconds=SECONDS)
        found = {}
        for devices in ("cpu", "ray:1/cpu"):
            with running(devices) as daemon:
                costs(daemon, speech, 2)
                found[devices], jobs = costs(daemon, speech, clips)
                there, back = crossed(daemon, jobs[0])
    print("              first byte, s  clips/s  daemon, CPU ms a clip  link, CPU ms a clip")
    for devices, cost in found.items():
        print(
            f"{devices:12} {cost.first_byte:14.2f} {cost.clips_a_second:8.2f} {1000 * cost.daemon:22.0f}"
            f" {1000 * cost.link:20.0f}"
        )
    print(f"files of a clip: {there / 1e3:.0f} kB there, {back / 1e3:.0f} kB back")
    with tempfile.TemporaryDirectory() as directory:
        busy = busy_cost(write_wav(Path(directory, "long.wav"), seconds=90.0))
    idle, counts = idle_cost(), (8, 64, 512)
    took, commits = asyncio.run(looks(counts))
    print(f"busy device: {1000 * busy[0]:.0f} CPU ms of the daemon a second, {1000 * busy[1]:.0f} of the link")
    print(f"idle device: {1000 * idle:.1f} CPU ms of the link a second; journal: {commits:.0f} commits/s one by one")
    print("devices  all busy, cores of: daemon  link  a look, ms  clips/s at most by: daemon's core  journal  1 Gbit/s")
    for count, look in zip(counts, took, strict=True):
        print(
            f"{count:7} {count * busy[0]:27.2f} {count * busy[1]:5.2f} {1000 * look:11.2f}"
            f" {1 / (found['ray:1/cpu'].daemon + LOOKS_A_JOB * look):34.0f} {commits / COMMITS_A_JOB:8.0f}"
            f" {125e6 / (there + back):9.0f}"
        )


if __name__ == "__main__":
    main()
