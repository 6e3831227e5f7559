"""What large and many uploads cost the daemon."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from tests.drivers.running import LIGHT, RunningDaemon

pytestmark = pytest.mark.timeout(300)

MiB = 2**20
LIMIT = 64 * MiB
FRAMING = 1 * MiB
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(
        tmp_path_factory.mktemp("limits"), "--log-level", "debug", command=LIGHT, ECHOD_INSPECT_TIMEOUT="5m"
    ) as running:
        running.until_idle()
        with running.client() as client, running.http() as http:  # whatever is made once is made now
            client.readiness()
            http.post("/v1/files", files={"file": ("f", b"no picture")})
        yield running


class Memory:
    """The daemon's own resident memory, its peak since `reset`."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._process = Path(f"/proc/{daemon.process.pid}")

    def _read(self, field: str) -> int:
        match = re.search(rf"^{field}:\s+(\d+) kB", self._process.joinpath("status").read_text(), re.MULTILINE)
        assert match
        return int(match[1]) * 1024

    def reset(self) -> int:
        """What it is now; the peak counts from here."""
        self._process.joinpath("clear_refs").write_text("5")
        return self._read("VmRSS")

    @property
    def peak(self) -> int:
        return self._read("VmHWM")


def stored(daemon: RunningDaemon) -> int:
    """Bytes under files/ and jobs/."""
    total = 0
    for root in ("files", "jobs"):
        for path in (daemon.state_dir / root).rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path.is_file() else 0
    return total


class Disk(threading.Thread):
    """Watches how much is stored, at its most."""

    def __init__(self, daemon: RunningDaemon) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._daemon = daemon
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.005):
            self.most = max(self.most, stored(self._daemon))

    def __enter__(self) -> Disk:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


def send_for_ever(daemon: RunningDaemon, path: str, framing: str, size: int) -> tuple[bytes, int]:
    """Send so many bytes, or until the daemon wants no more; its answer and how many were taken."""
    address = urlsplit(daemon.tcp)
    block = bytes(MiB)
    with socket.create_connection((address.hostname, address.port), timeout=60) as wire:
        wire.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            f"{framing}\r\n\r\n".encode()
        )
        chunked = "chunked" in framing
        sent = 0
        with contextlib.suppress(ConnectionError):
            wire.sendall(b"%x\r\n%b\r\n" % (len(HEAD), HEAD) if chunked else HEAD)
            while sent < size:
                wire.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
                sent += len(block)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := wire.recv(65536):
                answer += data
    return answer, sent


@pytest.mark.parametrize(
    ("path", "framing", "disk"),
    [
        ("/v1/files", f"Content-Length: {1024 * MiB}", 0),
        ("/v1/videos", f"Content-Length: {1024 * MiB}", 0),
        ("/v1/files", "Transfer-Encoding: chunked", LIMIT + FRAMING),
    ],
)
def test_a_gigabyte(daemon: RunningDaemon, path: str, framing: str, disk: int) -> None:
    """1 GiB against 64 MiB is refused: at once by its declared size, else at the limit; it leaves nothing behind."""
    memory = Memory(daemon)
    idle = memory.reset()
    with Disk(daemon) as watch:
        answer, sent = send_for_ever(daemon, path, framing, 1024 * MiB)
    assert b" 413 " in answer.partition(b"\r\n")[0], answer[:200]
    assert b"max_upload" in answer
    assert sent < 1024 * MiB
    assert memory.peak - idle < 32 * MiB
    assert watch.most <= disk
    assert stored(daemon) == 0


def noise(seconds: int, rate: int = 48000) -> bytes:
    """A recording that no compression makes small: two channels of noise as wav."""
    samples = np.random.default_rng(1).integers(-8000, 8000, seconds * rate * 2, np.int16).tobytes()
    numbers = (len(samples) + 36).to_bytes(4, "little"), rate.to_bytes(4, "little"), (rate * 4).to_bytes(4, "little")
    return (
        b"RIFF" + numbers[0] + b"WAVEfmt \x10\0\0\0\1\0\2\0" + numbers[1] + numbers[2] + b"\4\0\x10\0data"
        + len(samples).to_bytes(4, "little") + samples
    )  # fmt: skip


@pytest.mark.long
def test_ten_uploads_at_once(daemon: RunningDaemon) -> None:
    """Ten uploads of 30 MiB at once, received and inspected, keep the daemon under 150 MB above idle."""
    recording = noise(164)
    assert len(recording) > 30 * MiB
    memory = Memory(daemon)
    idle = memory.reset()
    start = threading.Barrier(10)
    answers: list[httpx.Response] = []

    def upload() -> None:
        with httpx.Client(base_url=daemon.tcp, timeout=300) as http:
            start.wait()
            answers.append(http.post("/v1/files", files={"file": ("noise.wav", recording)}))

    threads = [threading.Thread(target=upload) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 10
    assert memory.peak - idle < 150_000_000
    with httpx.Client(base_url=daemon.tcp) as http:
        for answer in answers:
            assert answer.json()["bytes"] == len(recording)
            assert http.delete(f"/v1/files/{answer.json()['id']}").status_code == 200
    assert stored(daemon) == 0
