"""The installed `echod serve`, started, watched and ended by a test, which plays systemd to it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from echod.client.client import Client
from tests.drivers.command import ECHOD, OURS

START_SECONDS = 60.0 * float(os.environ.get("ECHOD_TEST_PATIENCE", "1"))  # more on a machine that is busy
DTYPE = os.environ.get("ECHOD_TEST_DTYPE", "auto")  # what EchoMimic computes in, in daemons and beside them
LIGHT = (sys.executable, "-m", "tests.stand_ins.light")


class RunningDaemon:
    """`with RunningDaemon(directory) as daemon:` serves on a unix socket and a free TCP port until the block ends."""

    def __init__(
        self, directory: Path, *flags: str, command: tuple[str | Path, ...] = (ECHOD,), **environ: str
    ) -> None:
        self.directory = directory
        self.state_dir = directory / "state"
        self.log = directory / "echod.log"
        self._flags = flags
        self._command = command
        self._environ = environ
        self._run = tempfile.TemporaryDirectory(prefix="echod-")  # socket paths are short
        self.runtime_dir = Path(self._run.name)
        self.url = f"unix:{self.runtime_dir / 'echod.sock'}"
        self.notices: list[dict[str, str]] = []
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.process.poll() is None:
            self.stop()
        self._close()

    def _close(self) -> None:
        self._notify.close()
        self._run.cleanup()

    def start(self) -> None:
        """Returns when the daemon has told systemd that it is ready."""
        self._notify.close()  # what an earlier one had to say is of no interest
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(f"\0echod-test-{os.getpid()}-{time.monotonic_ns()}")
        self._notify.settimeout(START_SECONDS)
        command = [*self._command, "serve", "--engine", "preview", "--port", "0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--state-dir", self.state_dir, "--runtime-dir", self.runtime_dir, *self._flags],
                stderr=log,
                env=self.environ(),
                process_group=0,
            )
        self.until("READY")

    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        name = str(self._notify.getsockname().decode().replace("\0", "@"))
        return kept | {"HOME": str(self.directory), "NOTIFY_SOCKET": name} | self._environ

    def until(self, field: str, value: str | None = None) -> dict[str, str]:
        """The next notice that has the field, with this text in it. The test fails if the daemon ends instead."""
        with contextlib.suppress(TimeoutError):
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline:
                notice = self.notice()
                if field in notice and (value is None or value in notice[field]):
                    return notice
        raise AssertionError(f"no {field} {value or ''} in {self.notices[-5:]}; {self.log.read_text()[-3000:]}")

    def notice(self, seconds: float = START_SECONDS) -> dict[str, str]:
        """What the daemon tells systemd next; TimeoutError if it says nothing for so long, or has ended."""
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            selector.register(self._notify, selectors.EVENT_READ)
            pidfd = os.pidfd_open(self.process.pid)
            stack.callback(os.close, pidfd)
            selector.register(pidfd, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(seconds)]
        if self._notify not in ready:
            raise TimeoutError
        fields = self._notify.recv(4096).decode().splitlines()
        self.notices.append(dict(field.partition("=")[::2] for field in fields))
        return self.notices[-1]

    def until_idle(self) -> None:
        """Until every worker is idle."""
        self.until_devices(lambda devices: all(device["state"] == "idle" for device in devices))

    def until_devices(self, wanted: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Until they are as they should be."""
        while not wanted(self.devices()):
            self.notice()

    def devices(self) -> list[dict[str, Any]]:
        with self.client() as client:
            return list(client.readiness()["devices"])

    def client(self) -> Client:
        return Client(self.url)

    def http(self) -> httpx.Client:
        """For requests that `Client` has no words for."""
        socket_path = str(self.runtime_dir / "echod.sock")
        return httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=socket_path), timeout=60)

    @property
    def tcp(self) -> str:
        """The base URL of the TCP port, as the log has it."""
        for line in self.log.read_text().splitlines()[::-1]:
            if "listens on" in line:
                return next(word.rstrip(",") for word in line.split() if word.startswith("http://"))
        raise AssertionError("the log names no address")

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        self.send(number)
        return self.process.wait(START_SECONDS)

    def kill(self) -> None:
        """SIGKILL, then wait until none of its children is left: they must not outlive it."""
        children = list(descendants(self.process.pid))
        self.process.kill()
        self.process.wait()
        gone(children)


def descendants(pid: int) -> Iterator[int]:
    """Every living process below `pid`."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from descendants(child)


def gone(pids: list[int], seconds: float = 10.0) -> None:
    """Until these processes are dead (or zombies for somebody else to reap); the test fails if one stays."""
    deadline = time.monotonic() + seconds
    while living := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, f"still running: {living}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for_log(daemon: RunningDaemon, text: str) -> None:
    pause = threading.Event()
    for _ in range(600):
        if text in daemon.log.read_text():
            return
        pause.wait(0.05)
    raise AssertionError(f"{text!r} is not in the log: {daemon.log.read_text()[-2000:]}")


def command_lines(pid: int) -> Iterator[bytes]:
    for each in (pid, *descendants(pid)):
        yield Path(f"/proc/{each}/cmdline").read_bytes()
