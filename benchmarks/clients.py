"""200 event sockets on one daemon while its worker is busy: what they cost, how old news is, and whether all get it.

    python -m benchmarks.clients

The same clips are made twice, first with one client watching. The CPU time is that of the daemon's own process, its
worker not counted. A progress event's age is the time from its `ts` until a client has it, coalesced ones not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import ClientConnection, unix_connect

from benchmarks.machine import machine
from benchmarks.preview import PORTRAIT, speech
from tests.drivers.running import RunningDaemon

SECONDS = 30.0  # of speech in each clip
TERMINAL = ("job.completed", "job.failed", "job.cancelled")


@dataclass
class Seen:
    """What all clients together were told."""

    ages: list[float] = field(default_factory=list)  # of progress events, seconds
    endings: Counter[str] = field(default_factory=Counter)  # by job

    async def follow(self, connection: ClientConnection, clips: int) -> None:
        """Until this client knows how every clip ended."""
        ended = 0
        async for message in connection:
            now, event = time.time(), json.loads(message)
            if event["type"] == "job.progress":
                self.ages.append(now - event["ts"])
            elif event["type"] in TERMINAL:
                self.endings[event["video"]["id"]] += 1
                ended += 1
                if ended == clips:
                    return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--clips", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="echod-") as directory, RunningDaemon(Path(directory)) as daemon:
        daemon.until_idle()
        recording = speech(Path(directory) / "speech.wav", SECONDS)
        asyncio.run(measure(daemon, recording, 1, options.clips))
        asyncio.run(measure(daemon, recording, options.clients, options.clips))


async def measure(daemon: RunningDaemon, recording: Path, clients: int, clips: int) -> None:
    seen, path = Seen(), str(daemon.runtime_dir / "echod.sock")
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(unix_connect(path, "ws://localhost/v1/events", compression=None))
            for _ in range(clients)
        ]
        began, worked = time.perf_counter(), cpu_seconds(daemon.process.pid)
        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(seen.follow(connection, clips))
            group.create_task(asyncio.to_thread(submit, daemon, recording, clips))
        taken = time.perf_counter() - began
        share = (cpu_seconds(daemon.process.pid) - worked) / taken
    age = 1000 * sorted(seen.ages)[math.ceil(0.99 * len(seen.ages)) - 1]
    told, wanted = seen.endings.total(), clients * clips
    print(
        f"{clients:4} clients: {100 * share:5.1f} % of a core, {len(seen.ages) / taken:6.0f} progress events/s, "
        f"p99 age {age:.0f} ms, {told} of {wanted} endings told, {clips} clips in {taken:.1f} s",
        flush=True,
    )


def submit(daemon: RunningDaemon, recording: Path, clips: int) -> None:
    with daemon.client() as client:
        for _ in range(clips):
            client.submit(PORTRAIT, recording)


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
