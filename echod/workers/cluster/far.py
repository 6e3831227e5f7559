"""The daemon's side of workers on a cluster: the process beside it that speaks Ray, and a connection to that for each.

The daemon itself never imports Ray, and takes nothing from a node but MessagePack of its own kinds, by way of the link.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from echod.host.spawn import INHERITED
from echod.workers.cluster.messages import LENGTH, Birth, decode_cluster, decode_ending, encode
from echod.workers.hand import Main
from echod.workers.spec import Spec
from echod.workers.state import Cluster, Ending

log = logging.getLogger("echod.fleet")

# Beside those, what Ray is told by, and how many threads may be; and where weights are pulled, what the hub is told by.
PREFIXES = ("RAY_", "OMP_", "GRPC_", "NVIDIA_", "CUDA_")
HUB = ("HF_",)
BACKLOG = 1024  # workers that may be waiting for a link that is just starting
MAX_BACKOFF = 60.0  # seconds between two links
LAST_WORDS = 1.0  # seconds that the link may take over them


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the link is told at birth. `cpus` is how many workers want one each of a cluster of this machine alone."""

    listens: int  # the descriptor of its socket
    parent: int
    address: str
    cpus: int
    reports: str
    weights: str
    state: str
    log_level: str
    log_json: bool


class Link:
    """That process: there once a worker needs it, and anew after it died. With it all its workers die."""

    def __init__(self, spec: Spec, main: Main, cpus: int) -> None:
        self._spec = spec
        self._main = f"{main.__module__}:{main.__qualname__}"
        self._cpus = cpus
        self._path = Path(spec.directory) / "link"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, spec: Spec, name: str) -> Far:
        """An incarnation that works elsewhere. Raises OSError. Main thread only: the link dies with that."""
        birth = Birth(self._main, spec)
        if self.pid is not None:
            with contextlib.suppress(ConnectionError):  # it is dying, and its connections went first
                return Far(self._path, birth)
        self._start_anew()
        return Far(self._path, birth)

    async def watch(self, take: Callable[[Cluster], None]) -> None:
        """Have all that is news of the cluster taken, until cancelled. Main thread only."""
        known, deaths = Cluster(address=self._spec.ray_address), 0
        while True:
            try:
                if self.pid is None:
                    self._start_anew()
                reader, writer = await asyncio.open_unix_connection(str(self._path))
                with contextlib.closing(writer):
                    writer.write(bytes(LENGTH))
                    while size := int.from_bytes(await reader.readexactly(LENGTH), "big"):
                        known, deaths = decode_cluster(await reader.readexactly(size)), 0
                        take(known)
            except (OSError, EOFError, msgspec.MsgspecError) as error:
                log.warning("the link to the Ray cluster is lost: %s", error)
                take(known := replace(known, problem="the link to the Ray cluster is lost, and started again"))
            await asyncio.sleep(min(MAX_BACKOFF, 2.0**deaths))
            deaths += 1

    def _start_anew(self) -> None:
        self.close()
        self._spawn()

    def close(self) -> None:
        """End it; the actors end with it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._path.unlink(missing_ok=True)

    def _spawn(self) -> None:
        spec = self._spec
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self._path))
            listening.listen(BACKLOG)
            told = LinkSpec(
                listens=listening.fileno(),
                parent=os.getpid(),
                address=spec.ray_address,
                cpus=self._cpus,
                reports=spec.reports,
                weights=spec.weights,
                state=str(Path(spec.digests).parent.parent),
                log_level=spec.log_level,
                log_json=spec.log_json,
            )
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "echod.workers.cluster.link", msgspec.json.encode(told).decode()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment(spec),
                pass_fds=[listening.fileno()],
                start_new_session=True,
            )


def _environment(spec: Spec) -> dict[str, str]:
    prefixes = PREFIXES + (HUB if spec.ray_pull_weights and spec.ray_address == "local" else ())
    kept = {key: value for key, value in os.environ.items() if key in INHERITED or key.startswith(prefixes)}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class Far:
    """One incarnation on a cluster: a connection to the link, which ends it with how it ended when that is dead."""

    pid: int | None = None

    def __init__(self, link: Path, birth: Birth) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(link))
            data = encode(birth)
            self._socket.sendall(len(data).to_bytes(LENGTH, "big") + data)
        except BaseException:
            self._socket.close()
            raise
        self.fd = self._socket.fileno()

    def kill(self, number: int) -> None:
        try:
            self._socket.send(bytes([number]), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:  # the link is dead, and with it the worker
            return

    def bury(self) -> Ending:
        self._socket.settimeout(LAST_WORDS)
        words = b""
        try:
            while data := self._socket.recv(4096):
                words += data
        except OSError:
            pass
        self._socket.close()
        try:
            return decode_ending(words)
        except msgspec.DecodeError:  # it died before it could say, or while
            return Ending("lost", "lost with the link to the cluster")

    def abandon(self) -> None:
        self._socket.close()
