"""Events on their way to a client of a conversation."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosed

from echod.server.front.connection import Connection

MAX_PENDING = 64 << 20  # bytes that may wait for a client before it is let go


class Outbox:
    """Events on their way to a client, in order. It is `full` once too much waits for one that reads too slowly."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._pending = 0
        self.full = asyncio.Event()

    def send(self, type: str, **fields: Any) -> None:
        event = {"type": type, "event_id": f"event_{secrets.token_hex(10)}", **fields}
        text = msgspec.json.encode(event).decode()
        if self._pending + len(text) > MAX_PENDING:
            self.full.set()
        if not self.full.is_set():  # what comes after a gap would make no sense
            self._pending += len(text)
            self._events.put_nowait(text)

    async def run(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._send_next()

    async def drain(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while not self._events.empty():
                await self._send_next()

    async def _send_next(self) -> None:
        text = await self._events.get()
        await self._connection.send(text)
        self._pending -= len(text)
