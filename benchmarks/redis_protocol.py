"""A private redis-server on a unix socket, and as much of its protocol (RESP 2) as a queue needs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

Reply: TypeAlias = "int | bytes | list[Reply]"

START_SECONDS = 10.0


class RedisError(Exception):
    """What the server answered instead."""


class Connection:
    """Calls of many tasks go out at once; replies come back in the order of the calls."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()  # a fair one: first come, first served

    async def call(self, *words: str | bytes) -> Reply:
        self._writer.write(encode(*words))
        return await self.receive()

    async def receive(self) -> Reply:
        async with self._turn:
            return await self._reply()

    async def _reply(self) -> Reply:
        kind, rest = split(await self._reader.readline())
        if kind == b"*":
            return [await self._reply() for _ in range(int(rest))]
        return value(kind, rest, await self._reader.readexactly(int(rest) + 2) if kind == b"$" else b"")

    def close(self) -> None:
        self._writer.close()


class BlockingConnection:
    """The same for a process that does one thing at a time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file: BinaryIO = self._socket.makefile("rb")

    def call(self, *words: str | bytes) -> Any:
        self._socket.sendall(encode(*words))
        return self._reply()

    def _reply(self) -> Reply:
        kind, rest = split(self._file.readline())
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return value(kind, rest, self._file.read(int(rest) + 2) if kind == b"$" else b"")


def encode(*words: str | bytes) -> bytes:
    given = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(given) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in given)


def split(line: bytes) -> tuple[bytes, bytes]:
    if not line.endswith(b"\r\n"):
        raise ConnectionError("redis-server closed the connection")
    return line[:1], line[1:-2]


def value(kind: bytes, rest: bytes, bulk: bytes) -> int | bytes:
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b":":
        return int(rest)
    return bulk[:-2] if kind == b"$" else rest


@asynccontextmanager
async def redis_server(directory: Path, *flags: str) -> AsyncIterator[Path]:
    """A server with its data in `directory`; gives the path of its socket, which has to be short."""
    directory.mkdir(parents=True)
    path = directory / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", "", *flags]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        yield path
    finally:
        process.kill()
        await process.wait()


async def connect(path: Path) -> Connection:
    """To a server that may still be starting."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return Connection(*await asyncio.open_unix_connection(path))
            await asyncio.sleep(0.01)
