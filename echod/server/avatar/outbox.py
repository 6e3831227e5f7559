"""Messages on their way to a client, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, NamedTuple

import msgspec
from websockets.exceptions import ConnectionClosed

from echod.server.avatar.events import BY_TYPE
from echod.server.front.connection import Connection

MAX_WAITING = 1 << 20  # bytes; beyond them nothing is made for a client, and one message may be larger
PATIENCE = 30.0  # seconds that a client may leave a message unread


class _Message(NamedTuple):
    content: str | bytes
    stays: bool  # whatever is dropped


class Outbox:
    """It is `stuck` once a client has not read for too long."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: deque[_Message] = deque()
        self._size = 0
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self.stuck = asyncio.Event()

    def tell(self, type: str, *, stays: bool = True, **fields: Any) -> None:
        """An event, now."""
        self._add(_Message(msgspec.json.encode(BY_TYPE[type](**fields)).decode(), stays))

    async def put(self, content: bytes) -> None:
        """Part of what is shown, once there is room."""
        await self.room()
        self._add(_Message(content, stays=False))

    async def room(self) -> None:
        await self._room.wait()

    def drop(self) -> None:
        """What is shown is not wanted any more."""
        self._messages = deque(message for message in self._messages if message.stays)
        self._size = sum(len(message.content) for message in self._messages)
        self._look()

    def _add(self, message: _Message) -> None:
        self._messages.append(message)
        self._size += len(message.content)
        self._look()

    def _look(self) -> None:
        for event, holds in ((self._some, bool(self._messages)), (self._room, self._size < MAX_WAITING)):
            event.set() if holds else event.clear()

    async def run(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._some.wait()
                await self._send_next()

    async def drain(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while self._messages:
                await self._send_next()

    async def _send_next(self) -> None:
        message = self._messages.popleft()
        self._size -= len(message.content)
        self._look()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._connection.send(message.content)
        except TimeoutError:
            self.stuck.set()
