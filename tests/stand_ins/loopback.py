"""An HTTP server on the loopback interface that answers request by request, or does not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

HANG = 30.0  # seconds after which a test has failed


class Request(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, tuple[Mapping[str, str], bytes]]:
        """The parts of a multipart form by name: headers, content."""
        boundary = self.headers["content-type"].partition("boundary=")[2]
        parts: dict[str, tuple[Mapping[str, str], bytes]] = {}
        for part in self.body.split(f"--{boundary}".encode())[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            headers = _headers(head.decode().strip().split("\r\n"))
            name = headers["content-disposition"].partition('name="')[2].partition('"')[0]
            parts[name] = (headers, content.removesuffix(b"\r\n"))
        return parts


@dataclass
class Exchange:
    """One answer on its way to the client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    waiting: Callable[[int], None]

    async def respond(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """JSON, or HTML if it is text."""
        kind = "text/html" if isinstance(body, str) else "application/json"
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        await self.begin(status, {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})})
        await self.send(content)

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await self.send(f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode())

    async def begin_chunked(self, kind: str, more: Mapping[str, str] | None = None) -> None:
        own = {"Content-Type": kind, "Transfer-Encoding": "chunked", "X-Request-Id": "request-1"}
        await self.begin(200, {**own, **(more or {})})

    async def chunk(self, content: bytes) -> None:
        """A piece of a chunked body; an empty one ends it."""
        await self.send(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()

    async def stall(self) -> None:
        """Nothing more, until the client has gone."""
        self.waiting(+1)
        try:
            await self.reader.read()
        finally:
            self.waiting(-1)


@dataclass
class LoopbackServer:
    """`async with` it; or `with server.in_thread()`. Subclasses answer."""

    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    most_connections: int = 0
    beginning: int = 0  # of them with a request that is not all there
    waiting: int = 0  # of them for what never comes

    async def answer(self, request: Request, exchange: Exchange) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self.until(lambda: self.connections == 0)

    @contextmanager
    def in_thread(self) -> Iterator[Self]:
        """The server on a thread of its own, for tests whose client is another process."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.__aenter__(), loop).result(HANG)
            try:
                yield self
            finally:
                asyncio.run_coroutine_threadsafe(self.__aexit__(None, None, None), loop).result(HANG)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds: it is asked again whenever something came or went."""
        async with asyncio.timeout(HANG):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._count(+1)
        exchange = Exchange(reader, writer, self._wait)
        with suppress(ConnectionError):
            while not writer.is_closing() and (request := await self._read(reader)):
                self.requests.append(request)
                self._changed.set()
                await self.answer(request, exchange)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self._writers.remove(writer)
        self._count(-1)

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        if not (begin := await reader.read(1)):
            return None
        self.beginning += 1
        self._changed.set()
        try:
            head = begin + await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = _headers(lines)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except asyncio.IncompleteReadError:
            return None
        finally:
            self.beginning -= 1
        method, path, _ = first.split(" ")
        return Request(method, path, headers, body)

    def _wait(self, change: int) -> None:
        self.waiting += change
        self._changed.set()

    def _count(self, change: int) -> None:
        self.connections += change
        self.most_connections = max(self.most_connections, self.connections)
        self._changed.set()


def _headers(lines: list[str]) -> dict[str, str]:
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
