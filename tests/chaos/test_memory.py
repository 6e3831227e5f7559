"""A thousand clients that never finish what they send: how much memory they take, and that it comes back."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drivers.running import LIGHT, RunningDaemon
from tests.drivers.wire import FILE_HEAD, WEBSOCKET

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

CLIENTS, ACCOUNTS = 1000, 8
MOST, LEFT = 150, 50  # MB above an idle daemon: while they are there, and after they have left
TRIMMING = 20.0  # seconds, in which a daemon has given back what it holds no more
QUIET = 6  # looks, half a second apart, at which it has used no more of the processor
MB = 1_000_000


class Daemon:
    """A daemon with accounts, looked at from outside."""

    def __init__(self, running: RunningDaemon) -> None:
        self.running = running
        self.port = int(running.tcp.rpartition(":")[2])
        with running.http() as http:
            names = [f"user{number}" for number in range(ACCOUNTS)]
            for name in names:
                account = {"name": name, "password": "correct horse", "role": "admin"}
                http.post("/v1/accounts", json=account).raise_for_status()
            tokens = [http.post("/v1/account/tokens", json={"name": "t", "account": name}) for name in names]
        self.tokens = [str(answer.raise_for_status().json()["token"]) for answer in tokens]

    def memory(self) -> float:
        """MB that nothing else has."""
        status = Path(f"/proc/{self.running.process.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) * 1024 / MB

    def settled(self) -> float:
        """The memory once the daemon has nothing to do any more."""
        stat, seen = Path(f"/proc/{self.running.process.pid}/stat"), [""]
        while seen[-1] != seen[0] or len(seen) < QUIET:
            with self.running.http() as http:
                http.get("/healthz").raise_for_status()  # whatever it had to do before it has done
            seen = [*seen[-QUIET:], stat.read_text().rpartition(")")[2].split()[11]]
            time.sleep(0.5)
        return self.memory()

    def head(self, client: int, path: str, kind: str, length: int) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.tokens[client % ACCOUNTS]}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        ).encode()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * CLIENTS)), hard))
    with RunningDaemon(tmp_path_factory.mktemp("daemon"), command=LIGHT) as running:
        yield Daemon(running)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def login(daemon: Daemon, client: int) -> bytes:
    head = "POST /v1/account/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: 8000\r\n\r\n".encode() + b" " * 7999


def large_login(daemon: Daemon, client: int) -> bytes:
    head, _, _ = login(daemon, client).partition(b"Content-Length")
    return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % MB + b" " * (MB - 1)


def json(daemon: Daemon, client: int) -> bytes:
    return daemon.head(client, "/v1/videos", "application/json", 250_000) + b" " * 249_999


def file(daemon: Daemon, client: int) -> bytes:
    return daemon.head(client, "/v1/files", "multipart/form-data; boundary=b", 2 * MB) + FILE_HEAD + b"a" * MB


def fields(daemon: Daemon, client: int) -> bytes:
    field = '--b\r\nContent-Disposition: form-data; name="metadata[{}]"\r\n\r\n' + "x" * 60_000 + "\r\n"
    form = "".join(field.format(number) for number in range(16)).encode()
    return daemon.head(client, "/v1/videos", "multipart/form-data; boundary=b", 2 * MB) + form


def event(daemon: Daemon, client: int) -> bytes:
    """Behind an upgrade, most of the largest event there is."""
    return b"\x81\xff" + (3_900_000).to_bytes(8, "big") + bytes(4) + b" " * 3_800_000


def begin(daemon: Daemon, kind: Callable[[Daemon, int], bytes], client: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", daemon.port))
    connection.settimeout(30)
    if kind is event:
        token = daemon.tokens[client % ACCOUNTS]
        head = f"GET /v1/realtime?model=auto HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        connection.sendall(f"{head}{WEBSOCKET}\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
    with contextlib.suppress(OSError):  # it was refused meanwhile
        connection.sendall(kind(daemon, client))
    return connection


def answer(connection: socket.socket) -> str:
    """What the daemon has said so far."""
    connection.setblocking(False)
    try:
        return connection.recv(12).decode("latin-1")[9:] or "closed"
    except BlockingIOError:
        return "held"
    except OSError:
        return "closed"


@pytest.mark.parametrize("kind", [login, large_login, json, file, fields, event], ids=lambda kind: kind.__name__)
def test_clients_that_never_end(daemon: Daemon, kind: Callable[[Daemon, int], bytes]) -> None:
    """However much they send, they take no more than a bounded share of memory, and leave it behind."""
    with contextlib.closing(begin(daemon, kind, 0)):
        idle = daemon.settled()
    connections = [begin(daemon, kind, client) for client in range(CLIENTS if kind is not event else CLIENTS // 5)]
    deadline = time.monotonic() + TRIMMING
    while (held := daemon.settled()) >= idle + MOST and time.monotonic() < deadline:
        pass
    answers = Counter(map(answer, connections)) if kind is not event else {}
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + 60
    while (left := daemon.settled()) > idle + LEFT and time.monotonic() < deadline:
        time.sleep(1)
    print(f"{kind.__name__}: idle {idle:.0f} MB, held {held - idle:+.0f}, left {left - idle:+.0f}; {dict(answers)}")
    assert held < idle + MOST
    assert left < idle + LEFT
