"""Clients by the hundred that do what clients should not: afterwards the daemon holds what it held before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.drivers.command import ECHOD
from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES, write_wav

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SOCKETS, DEAF, UPLOADS, HEADERS, CONNECTS, JOBS = 200, 50, 100, 100, 1000, 20
WORDS = 10_000  # bytes of a prompt, which every event carries
GROWTH = 6 << 20  # bytes of memory that a second round may add, for the allocator's sake
TRIMMING = 20.0  # seconds, in which a daemon has given back what it holds no more
POOL = min(
    32, (os.cpu_count() or 1) + 4
)  # threads that asyncio makes one by one, when all others are at work, and keeps
SETTLING, QUIET = 60.0, 12.0  # seconds until all must be let go, and without a change that mean it will not be


class Held(NamedTuple):
    """What a daemon holds."""

    descriptors: int
    threads: int
    files: int


def held(daemon: RunningDaemon) -> Held:
    process = Path(f"/proc/{daemon.process.pid}")
    roots = (*(daemon.state_dir / name for name in ("files", "jobs", "cache")), daemon.runtime_dir, temporary(daemon))
    walks = (os.walk(root) for root in roots)
    files = sum(len(directories) + len(names) for walk in walks for _, directories, names in walk)
    return Held(len(list((process / "fd").iterdir())), len(list((process / "task").iterdir())), files)


def temporary(daemon: RunningDaemon) -> Path:
    """Where the daemon makes temporary files."""
    return daemon.directory / "tmp"


def resident(daemon: RunningDaemon) -> int:
    """Bytes of memory."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    directory = tmp_path_factory.mktemp("clients")
    (directory / "tmp").mkdir()
    with RunningDaemon(directory, ECHOD_QUEUE_LIMIT=str(JOBS), TMPDIR=str(directory / "tmp")) as daemon:
        daemon.until_idle()
        yield daemon


def twice(daemon: RunningDaemon, trouble: Callable[[], None]) -> None:
    """Cause the trouble, so that all there will be on its account is there; the second time must leave no more."""
    trouble()
    before, memory = settled(daemon, None), resident(daemon)
    trouble()
    after, allowed = settled(daemon, before), before._replace(threads=before.threads + POOL)
    assert all(now <= then for now, then in zip(after, allowed, strict=True)), (after, before)
    pause, deadline = threading.Event(), time.monotonic() + TRIMMING
    while (grown := resident(daemon) - memory) >= GROWTH and time.monotonic() < deadline:
        pause.wait(0.5)
    print(f"grown={grown}")
    assert grown < GROWTH
    with daemon.client() as client:
        assert client.readiness()["ready"]
    assert " ERROR " not in (log := daemon.log.read_text()), log[-3000:]  # clients can do nothing that is echod's fault


def settled(daemon: RunningDaemon, wanted: Held | None) -> Held:
    """What is held once it is as wanted, or changes no more."""
    pause, deadline = threading.Event(), time.monotonic() + SETTLING
    last, since = held(daemon), time.monotonic()
    while time.monotonic() < deadline and last != wanted and time.monotonic() < since + QUIET:
        pause.wait(0.1)
        if (now := held(daemon)) != last:
            last, since = now, time.monotonic()
    return last


def until(condition: Callable[[], bool]) -> None:
    pause, deadline = threading.Event(), time.monotonic() + SETTLING
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.05)


def address(daemon: RunningDaemon) -> tuple[str, int]:
    parts = urlsplit(daemon.tcp)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


def raw(daemon: RunningDaemon, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(address(daemon), timeout=SETTLING)
    connection.sendall(data)
    return connection


def ended(connection: socket.socket) -> bytes:
    """All that the daemon still says before it closes the connection."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while block := connection.recv(65536):
            said += block
    connection.close()
    return said


def upload(daemon: RunningDaemon, share: float) -> socket.socket:
    """Begin an upload and send this share of it."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        + bytes(200_000)
        + b"\r\n--x--\r\n"
    )
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {':'.join(map(str, address(daemon)))}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    return raw(daemon, head + body[: int(share * len(body))])


def test_half_open_uploads(daemon: RunningDaemon) -> None:
    """100 uploads, open at once, that break off anywhere leave no byte; others are served meanwhile."""
    dice = random.Random(seed := int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32))))
    print(f"ECHOD_CHAOS_SEED={seed} uploads={UPLOADS}")

    def begin_and_break_off() -> None:
        before = held(daemon)
        connections = [upload(daemon, dice.uniform(0.01, 0.99)) for _ in range(UPLOADS)]
        until(lambda: held(daemon).files >= before.files + 2 * UPLOADS)  # a directory and a file each
        with daemon.client() as client:
            assert client.readiness()["ready"]
        for connection in connections:
            connection.close()

    twice(daemon, begin_and_break_off)


def test_slow_headers(daemon: RunningDaemon) -> None:
    """100 clients that never end their request are let go, and others are served meanwhile."""

    def ask_slowly() -> None:
        connections = [raw(daemon, b"GET /healthz HTTP/1.1\r\nX-Slow: ") for _ in range(HEADERS)]
        with daemon.client() as client:
            assert client.readiness()["ready"]
        for connection in connections:
            ended(connection)

    twice(daemon, ask_slowly)
    print(f"headers={HEADERS}")


def upgrade(daemon: RunningDaemon) -> bytes:
    """A request for an event socket."""
    return (
        f"GET /v1/events HTTP/1.1\r\nHost: {':'.join(map(str, address(daemon)))}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n"
    ).encode()


def test_connects_and_disconnects(daemon: RunningDaemon) -> None:
    """1,000 connections that come to nothing leave nothing: silent, cut, reset, or sockets that close at once."""
    asking = upgrade(daemon)

    def come_and_go(number: int) -> None:
        connection = raw(daemon, (b"", b"GET / HT", asking, asking + b"\xff\xff garbage")[number % 4])
        if number % 3 == 0:  # a reset instead of an end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    def come_and_go_often() -> None:
        for number in range(CONNECTS):
            come_and_go(number)

    twice(daemon, come_and_go_often)
    print(f"connects={CONNECTS}")


def test_more_connections_than_descriptors(tmp_path: Path) -> None:
    """1,024 event sockets do not make a daemon deaf that has 1,024 descriptors: those that it cannot hold hear so."""
    few = ("bash", "-c", 'ulimit -Sn 512; ulimit -Hn 1024; exec "$0" "$@"', ECHOD)
    with RunningDaemon(tmp_path, command=few) as daemon, contextlib.ExitStack() as stack:
        daemon.until_idle()
        sockets = [stack.enter_context(raw(daemon, upgrade(daemon))) for _ in range(1024)]
        answers = Counter(socket.recv(12) for socket in sockets)
        assert answers == {b"HTTP/1.1 101": 384, b"HTTP/1.1 429": 640}
        for socket in sockets:
            socket.close()
        with daemon.client() as client:
            assert client.readiness()["ready"]
        assert " ERROR " not in (log := daemon.log.read_text()), log[-3000:]


def uploaded(http: httpx.Client, directory: Path) -> dict[str, object]:
    request: dict[str, object] = {"size": "128x128", "prompt": "x" * WORDS}
    speech = write_wav(directory / "speech.wav", seconds=1.0)
    for field, path in (("input_reference", EXAMPLES / "portrait.png"), ("audio_reference", speech)):
        answer = http.post("/v1/files", files={"file": path.read_bytes()}, data={"purpose": "user_data"})
        request[field] = {"file_id": answer.raise_for_status().json()["id"]}
    return request


@contextlib.asynccontextmanager
async def watching(daemon: RunningDaemon, count: int, deaf: bool) -> AsyncIterator[list[ClientConnection]]:
    url = f"{daemon.tcp.replace('http', 'ws')}/v1/events"
    async with contextlib.AsyncExitStack() as stack:
        watchers = []
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            if deaf:  # the kernel takes little for it, and its daemon has to wait
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            connection.connect(address(daemon))
            watchers.append(await stack.enter_async_context(connect(url, sock=connection, close_timeout=1)))
            if deaf:
                watchers[-1].transport.pause_reading()
        yield watchers
        for watcher in watchers:
            watcher.transport.abort()


def unread(daemon: RunningDaemon, watcher: ClientConnection) -> int:
    """Bytes for a watcher that the kernel holds on the daemon's side."""
    ports = [f":{port:04X}" for port in (address(daemon)[1], watcher.local_address[1])]
    for line in Path("/proc/net/tcp").read_text().splitlines():
        _, local, remote, _, queues, *_ = line.split()
        if local.endswith(ports[0]) and remote.endswith(ports[1]):
            return int(queues.partition(":")[0], 16)
    raise AssertionError("the watcher is no longer connected")


Told: TypeAlias = Counter[tuple[str, str]]  # (type, job) -> how often a watcher was told
ENDS = ("job.completed", "job.failed", "job.cancelled")


async def listen(watcher: ClientConnection, told: Told, wanted: int, *types: str) -> None:
    """Until the watcher has been told so many events of these types."""
    while sum(times for (type, _), times in told.items() if type in types) < wanted:
        event = json.loads(await watcher.recv())
        told[event["type"], event["video"]["id"]] += 1


def test_watchers_that_never_read(daemon: RunningDaemon, tmp_path: Path) -> None:
    """Of 200 event sockets 50 never read; the 150 others are told of every end, once; a flood of submits is refused."""
    with daemon.http() as http:
        request = uploaded(http, tmp_path)

        def submit_and_watch() -> None:
            accepted, refused = asyncio.run(flood(daemon, http, request))
            assert refused > 0
            for job in accepted:
                http.delete(f"/v1/videos/{job}").raise_for_status()
            print(f"sockets={SOCKETS} deaf={DEAF} accepted={len(accepted)} refused={refused}")

        twice(daemon, submit_and_watch)


async def flood(daemon: RunningDaemon, http: httpx.Client, request: dict[str, object]) -> tuple[set[str], int]:
    """Submit more jobs than are accepted, while sockets watch; those accepted, and how many were refused."""
    async with watching(daemon, DEAF, deaf=True) as deaf, watching(daemon, SOCKETS - DEAF, deaf=False) as watchers:
        answers = [await asyncio.to_thread(http.post, "/v1/videos", json=request) for _ in range(4 * JOBS)]
        accepted = {answer.json()["id"] for answer in answers if answer.status_code == 200}
        refused = [answer for answer in answers if answer.status_code != 200]
        assert all((a.status_code, a.json()["error"]["code"]) == (429, "queue_full") for a in refused)
        told: list[Told] = [Counter() for _ in watchers]

        async def all_are_told(*types: str) -> None:
            async with asyncio.timeout(2 * SETTLING):
                await asyncio.gather(
                    *(listen(*each, len(accepted), *types) for each in zip(watchers, told, strict=True))
                )

        await all_are_told("job.queued")
        for watcher in deaf:  # the daemon still waits for them, and before long takes them for dead
            assert unread(daemon, watcher) < len(accepted) * WORDS / 2
        await all_are_told(*ENDS)
        for each in told:
            assert {job: times for (type, job), times in each.items() if type in ENDS} == dict.fromkeys(accepted, 1)
    return accepted, len(refused)


@pytest.mark.parametrize(("path", "size", "close"), [("/v1/events", 1 << 20, 1009), ("/v1/realtime", 17 << 20, 1009)])
def test_messages_over_the_limit(daemon: RunningDaemon, path: str, size: int, close: int) -> None:
    """A message that is too large ends its socket with 1009, twenty times over, and is not kept."""

    async def send() -> None:
        ws = await connect(f"{daemon.tcp.replace('http', 'ws')}{path}", max_size=None)
        with contextlib.suppress(ConnectionClosed):
            await ws.send("x" * size)
        with contextlib.suppress(ConnectionClosed):
            while True:
                await ws.recv()
        assert ws.close_code == close

    def send_often() -> None:
        for _ in range(20):
            asyncio.run(send())

    twice(daemon, send_often)
