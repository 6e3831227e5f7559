"""Bytes on a connection, as a test writes them itself: HTTP as proxies, attackers and honest clients send it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.stand_ins.daemon import PASSWORD, Daemon

TAKEOVER = json.dumps({"name": "eve", "password": PASSWORD, "role": "admin"})
SECOND = (
    "POST /v1/accounts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(TAKEOVER)}\r\n\r\n{TAKEOVER}"
)
LATE = "\r\n" * 150_000 + SECOND  # more than is read at once: what is read next begins with empty lines
WEBSOCKET = (
    f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
)
SOCKET = f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n{WEBSOCKET}\r\n"
PROXY = "X-Forwarded-For: 203.0.113.9\r\n"

H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
OTHERS = (
    H2C,
    "Connection: upgrade\r\nUpgrade: x\r\n",
    "Connection: upgrade\r\nUpgrade: x\r\nUpgrade: websocket\r\n",
    "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
    "Connection: keep-alive, upgrade\r\nUpgrade: x\r\n",
    "Connection: upgrade\r\nConnection: keep-alive\r\nUpgrade: TLS/1.0\r\n",
)

FORM = {"Host": "localhost", "Content-Type": "multipart/form-data; boundary=b"}
FILE_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'


class Wire:
    """A connection to the TCP port or the unix socket, whose bytes a test writes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, daemon: Daemon, by: str = "tcp") -> Wire:
        if by == "unix":
            return cls(*await asyncio.open_unix_connection(str(daemon.config.socket)))
        return cls(*await asyncio.open_connection("127.0.0.1", int(daemon.base.rpartition(":")[2])))

    async def head(self, method: str, path: str, headers: dict[str, Any]) -> None:
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.writer.write("\r\n".join(lines).encode())
        await self.writer.drain()

    async def answer(self) -> bytes:
        """The next one, by its Content-Length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        return head + await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """All that still comes until the daemon closes."""
        try:
            return await self.reader.read()
        finally:
            self.writer.close()


def posting(body: str, *headers: str, chunked: bool = False, path: str = "/v1/videos") -> bytes:
    """A POST of JSON."""
    framing = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {len(body)}\r\n"
    sent = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if chunked else body
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}{''.join(headers)}{framing}\r\n{sent}".encode()


def served(daemon: Daemon) -> int:
    """How many requests the app has seen."""
    samples = (sample for metric in daemon.metrics.requests.collect() for sample in metric.samples)
    return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))
