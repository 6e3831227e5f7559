"""Hundreds of short clips one after the other: whether memory and descriptors of daemon and workers grow.

    python -m benchmarks.soak [--jobs 500]

Two workers make preview clips of a second at 128x128, eight waiting at a time; half of them are deleted. The first
tenth is not counted: what is loaded once is loaded then.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import deque
from pathlib import Path

from benchmarks.machine import machine
from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES, write_wav

WAITING = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    jobs = parser.parse_args().jobs
    print(machine())
    with tempfile.TemporaryDirectory(prefix="echod-") as directory:
        speech = write_wav(Path(directory) / "speech.wav", 1.0).read_bytes()
        with RunningDaemon(Path(directory), "--devices", "cpu,cpu") as daemon:
            daemon.until_idle()
            run(daemon, speech, jobs // 10)
            before, began = held(daemon), time.monotonic()
            run(daemon, speech, jobs)
            minutes = (time.monotonic() - began) / 60
            for name, (memory, files) in held(daemon).items():
                rate = f"{(memory - before[name][0]) / minutes:+.1f} MB a minute"
                print(f"{name:8} {memory:5.0f} MB, {rate}; {files} files, {before[name][1]} before")
            print(f"{jobs} jobs in {minutes:.1f} minutes")


def run(daemon: RunningDaemon, speech: bytes, jobs: int) -> None:
    portrait, waiting = (EXAMPLES / "portrait.png").read_bytes(), deque[str]()
    with daemon.http() as http, daemon.client() as client:
        for number in range(jobs + WAITING):
            if number < jobs:
                files = {"input_reference": portrait, "audio_reference": speech}
                answer = http.post("/v1/videos", data={"size": "128x128"}, files=files)
                waiting.append(answer.raise_for_status().json()["id"])
            if len(waiting) > WAITING or (number >= jobs and waiting):
                *_, last = client.follow(waiting[0])
                assert last["video"]["status"] == "completed"
                if number % 2:
                    http.delete(f"/v1/videos/{waiting[0]}").raise_for_status()
                waiting.popleft()


def held(daemon: RunningDaemon) -> dict[str, tuple[float, int]]:
    """Memory in MB that is nobody else's, and open files, of each process."""
    pids = {"daemon": daemon.process.pid, **{f"worker {d['worker']}": d["pid"] for d in daemon.devices()}}
    return {name: (anonymous(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))) for name, pid in pids.items()}


def anonymous(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
