"""What it takes to hand a job to a worker and to learn that it is done, when the job itself is nothing.

    python -m benchmarks.dispatch

One job at a time: from the call that accepts it to its arrival at the worker, and to its result. Then a flood, with 64
jobs under way. Rows are interleaved; every figure is the median of five rounds. One worker process each:

  ZeroMQ         a message there and one back: nothing is kept anywhere
  echod          desk, journal and fleet in this process; survives a power cut from the accept on
  echod, HTTP    POST /v1/videos of files uploaded before, the result from /v1/events; a daemon process
  Redis          LPUSH, BLPOP, PUBLISH; with `appendfsync always` the queue survives a power cut, the result does not
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
import zmq
from websockets.asyncio.client import ClientConnection, unix_connect

from benchmarks import noop_worker
from benchmarks.machine import file_system, machine
from benchmarks.redis_protocol import BlockingConnection, Connection, connect, redis_server
from echod.config import Settings
from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs.desk import Desk
from echod.jobs.job import Draft
from echod.journal import Journal
from echod.workers.fleet import Fleet
from tests.drivers.running import RunningDaemon
from tests.making.config import make_config
from tests.making.media import EXAMPLES, write_picture, write_wav

ROUNDS = 5
WINDOW = 64  # jobs under way in a flood
WARM_UP = 50  # jobs that are not counted
QUEUE, RESULTS = "jobs", "results"


class Contender(Protocol):
    async def submit(self) -> str:
        """Hand in a job; its id, once it is accepted."""

    async def result(self) -> tuple[str, int]:
        """The next job that is done, and when it arrived at the worker: nanoseconds of the monotonic clock."""


# ZeroMQ


class ZeroMQ:
    def __init__(self, orders: zmq.Socket[bytes], reports: zmq.Socket[bytes]) -> None:
        self._orders = orders
        self._reports = reports
        self._sent = 0

    async def submit(self) -> str:
        self._sent += 1
        self._orders.send(b"%d" % self._sent)
        return str(self._sent)

    async def result(self) -> tuple[str, int]:
        job, began = self._reports.recv().split()
        return job.decode(), int(began)


def zeromq_worker(directory: str) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as orders, context.socket(zmq.PUSH) as reports:
        orders.connect(f"ipc://{directory}/orders")
        reports.connect(f"ipc://{directory}/reports")
        while job := orders.recv():
            reports.send(b"%s %d" % (job, time.monotonic_ns()))


@asynccontextmanager
async def zeromq(directory: Path) -> AsyncIterator[ZeroMQ]:
    directory.mkdir()
    with zmq.Context() as context, context.socket(zmq.PUSH) as orders, context.socket(zmq.PULL) as reports:
        orders.bind(f"ipc://{directory}/orders")
        reports.bind(f"ipc://{directory}/reports")
        with child(zeromq_worker, str(directory)):
            yield ZeroMQ(orders, reports)


# echod


class Echod:
    def __init__(self, desk: Desk, draft: Draft) -> None:
        self._desk = desk
        self._draft = draft
        self._watcher = desk.feed.watch(None)

    async def submit(self) -> str:
        return (await self._desk.accept(self._draft)).id

    async def result(self) -> tuple[str, int]:
        async for event in self._watcher:
            if event.job.terminal:
                return event.job.id, event.job.timings_ms["began_ns"]
        raise RuntimeError("the feed ended")


@asynccontextmanager
async def echod(directory: Path) -> AsyncIterator[Echod]:
    directory.mkdir()
    config = make_config(directory, jobs_per_account=2 * WINDOW)
    settings = Settings(config)
    config.state_dir.mkdir()
    journal = Journal(config.state_dir / "journal")
    journal.open()
    desk = Desk(settings, journal, ("preview",), boot=await journal.boot())
    fleet = Fleet(settings, desk, ("cpu",), noop_worker.main)
    await desk.open(fleet)
    await fleet.start()
    try:
        yield Echod(desk, draft(directory))
    finally:
        await fleet.drain(0, asyncio.Event())
        await desk.close()
        await journal.close()


def draft(directory: Path) -> Draft:
    """Inputs as they are after an upload: on disk and synced."""
    return Draft(
        account="a",
        portrait=PortraitFacts(width=64, height=48, faces=1, box=None, sha256="p"),
        portrait_file=write_picture(directory / "portrait.png"),
        speech=SpeechFacts(seconds=0.5, rate=16000, channels=1, sha256="s"),
        speech_file=write_wav(directory / "speech.flac"),
    )


# echod over HTTP


class Http:
    def __init__(self, http: httpx.AsyncClient, events: ClientConnection, references: dict[str, object]) -> None:
        self._http = http
        self._events = events
        self._references = references

    async def submit(self) -> str:
        answer = (await self._http.post("/v1/videos", json=self._references)).raise_for_status()
        return str(answer.json()["id"])

    async def result(self) -> tuple[str, int]:
        async for message in self._events:
            event = json.loads(message)
            if event["type"] == "job.completed":
                return event["video"]["id"], event["video"]["echod"]["timings_ms"]["began_ns"]
        raise RuntimeError("the daemon closed the socket")


@asynccontextmanager
async def http(directory: Path) -> AsyncIterator[Http]:
    directory.mkdir()
    daemon = RunningDaemon(
        directory, command=noop_worker.COMMAND, ECHOD_JOBS_PER_ACCOUNT=str(2 * WINDOW), ECHOD_LOG_LEVEL="warning"
    )
    with daemon:
        await asyncio.to_thread(daemon.until_idle)
        path = str(daemon.runtime_dir / "echod.sock")
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with (
            httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=60) as client,
            unix_connect(path, "ws://localhost/v1/events", compression=None) as events,
        ):
            references: dict[str, object] = {
                field: {"file_id": await upload(client, EXAMPLES / name)}
                for field, name in (("input_reference", "portrait.png"), ("audio_reference", "speech.wav"))
            }
            yield Http(client, events, references)


async def upload(client: httpx.AsyncClient, path: Path) -> str:
    answer = await client.post("/v1/files", data={"purpose": "user_data"}, files={"file": path.open("rb")})
    return str(answer.raise_for_status().json()["id"])


# Redis


class Redis:
    def __init__(self, queue: Connection, results: Connection) -> None:
        self._queue = queue
        self._results = results
        self._sent = 0

    async def submit(self) -> str:
        self._sent += 1
        job = str(self._sent)
        await self._queue.call("LPUSH", QUEUE, job)
        return job

    async def result(self) -> tuple[str, int]:
        message = await self._results.receive()
        assert isinstance(message, list)
        assert isinstance(message[2], bytes)
        job, began = message[2].split()
        return job.decode(), int(began)


def redis_worker(path: Path) -> None:
    connection = BlockingConnection(path)
    while True:
        _, job = connection.call("BLPOP", QUEUE, "0")
        connection.call("PUBLISH", RESULTS, b"%s %d" % (job, time.monotonic_ns()))


@asynccontextmanager
async def redis(directory: Path, *flags: str) -> AsyncIterator[Redis]:
    async with redis_server(directory, *flags) as path:
        queue, results = await connect(path), await connect(path)
        await results.call("SUBSCRIBE", RESULTS)
        with child(redis_worker, path):
            yield Redis(queue, results)
        queue.close()
        results.close()


@contextlib.contextmanager
def child(work: Callable[..., None], *given: object) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=work, args=given, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


# Measuring


async def one_at_a_time(contender: Contender, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the call to the worker, and to the result, of each job."""
    starts, results = [], []
    for _ in range(count):
        called = time.monotonic_ns()
        job = await contender.submit()
        done, began = await contender.result()
        results.append((time.monotonic_ns() - called) / 1e6)
        starts.append((began - called) / 1e6)
        assert done == job, (done, job)
    return starts, results


async def flood(contender: Contender, count: int) -> float:
    """Jobs per second with WINDOW of them under way."""
    room = asyncio.Semaphore(WINDOW)
    left = iter(range(count))

    async def hand_in() -> None:
        for _ in left:
            await room.acquire()
            await contender.submit()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(WINDOW):
            group.create_task(hand_in())
        for _ in range(count):
            await asyncio.sleep(0)  # a contender that blocks would keep the others from handing in
            await contender.result()
            room.release()
    return count / (time.perf_counter() - began)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


@dataclass
class Row:
    name: str
    contender: Contender
    rounds: list[tuple[float, ...]] = field(default_factory=list)

    async def round(self, count: int, flooding: int) -> None:
        starts, results = await one_at_a_time(self.contender, count)
        latencies = [percentile(values, share) for values in (starts, results) for share in (0.5, 0.99)]
        self.rounds.append((*latencies, await flood(self.contender, flooding)))

    def line(self) -> str:
        *latencies, rate = map(statistics.median, zip(*self.rounds, strict=True))
        return f"{self.name:24}" + "".join(f"{value:9.3f}" for value in latencies) + f"{rate:9.0f}"


def contenders(directory: Path) -> dict[str, AbstractAsyncContextManager[Contender]]:
    found: dict[str, AbstractAsyncContextManager[Contender]] = {
        "ZeroMQ": zeromq(directory / "z"),
        "echod": echod(directory / "e"),
        "echod, HTTP": http(directory / "h"),
    }
    if shutil.which("redis-server") is None:
        print("there is no redis-server here (Debian: apt install redis-server): its rows are left out")
        return found
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    return found | {"Redis, fsync always": redis(directory / "a", *durable), "Redis, off": redis(directory / "o")}


async def run(directory: Path, count: int, flooding: int) -> None:
    async with AsyncExitStack() as stack:
        rows = [Row(name, await stack.enter_async_context(made)) for name, made in contenders(directory).items()]
        for row in rows:
            await one_at_a_time(row.contender, WARM_UP)
        for _ in range(ROUNDS):
            for row in rows:
                await row.round(count, flooding)
        print(f"{'':24}{'to the worker, ms':>18}{'to the result, ms':>18}{'jobs/s':>9}")
        print(f"{'':24}" + "".join(f"{name:>9}" for name in ("p50", "p99", "p50", "p99")))
        for row in rows:
            print(row.line())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300, help="one after another, in each round")
    parser.add_argument("--flood", type=int, default=1000, help=f"the same, {WINDOW} at a time")
    parser.add_argument("--directory", type=Path, help="where to keep state: another disk, another figure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="echod-", dir=options.directory) as directory:
        print(f"{machine()}, {file_system(Path(directory))}")
        asyncio.run(run(Path(directory), options.jobs, options.flood))


if __name__ == "__main__":
    main()
