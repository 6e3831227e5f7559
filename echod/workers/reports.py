"""The one socket to which all workers report."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq
import zmq.asyncio

from echod.workers import messages

log = logging.getLogger("echod.fleet")

MAX_REPORT = 2**20  # bytes; whoever sends more is cut off
LAST_WORDS = 0.1  # seconds that the last reports of a dead worker may take through ZeroMQ's own thread


class Reports:
    """Gives every report to `take`. Whoever of our own user sends what is none must not end the reading of others."""

    def __init__(self, path: str, take: Callable[[messages.Envelope], None]) -> None:
        self.path = path
        self._take = take

    def open(self, context: zmq.asyncio.Context) -> None:
        self._socket = context.socket(zmq.PULL)
        self._socket.linger = 0
        self._socket.maxmsgsize = MAX_REPORT
        for left in Path(self.path).parent.iterdir():
            if left.is_socket() and not _listened_at(left):  # by a daemon that was killed, or its workers
                left.unlink()
        Path(self.path).unlink(missing_ok=True)
        self._socket.bind(f"ipc://{self.path}")

    async def read(self) -> None:
        while True:
            self._handle(await self._socket.recv())

    def read_last(self, owes: Callable[[], bool]) -> None:
        """What has come, and a moment's wait for more for as long as a dead worker `owes` any."""
        reports: zmq.Socket[bytes] = zmq.Socket.shadow(self._socket.underlying)
        until = time.monotonic() + LAST_WORDS
        while reports.poll(max(0, round(1000 * (until - time.monotonic()))) if owes() else 0):
            self._handle(reports.recv(zmq.NOBLOCK))

    def _handle(self, data: bytes) -> None:
        try:
            self._take(messages.decode_envelope(data))
        except (msgspec.MsgspecError, ValueError, RecursionError, IndexError) as error:
            log.warning("%d bytes that are no report were dropped: %s", len(data), error)
        except Exception:
            log.exception("a report could not be taken")

    def close(self) -> None:
        self._socket.close()
        Path(self.path).unlink(missing_ok=True)


def _listened_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # whoever listens may not take connections at present
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED
