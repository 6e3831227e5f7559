"""A client of /v1/avatar that keeps all it is shown."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection

H264, RGB24, PCM16, RESTING = 1, 2, 3, 4
HANG = 30.0  # seconds


class Shown(NamedTuple):
    kind: int
    microseconds: int
    content: bytes


class Avatar:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.shown: list[Shown] = []
        self.events: list[dict[str, Any]] = []

    async def send(self, type: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def begin(self, **fields: Any) -> dict[str, Any]:
        """Ready to speak: the picture at rest is there."""
        await self.send("start", **{"rate": 24_000, **fields})
        started = await self.until("started")
        while not self.of(RESTING):
            await self.step()
        return started

    async def step(self) -> Shown | Mapping[str, Any]:
        """The next message."""
        async with asyncio.timeout(HANG):
            message = await self.socket.recv()
        if isinstance(message, str):
            self.events.append(json.loads(message))
            return self.events[-1]
        kind, microseconds = struct.unpack(">BQ", message[:9])
        self.shown.append(Shown(kind, microseconds, message[9:]))
        return self.shown[-1]

    async def until(self, type: str) -> dict[str, Any]:
        while True:
            event = await self.step()
            if isinstance(event, dict) and event["type"] == type:
                return event

    def of(self, kind: int) -> list[Shown]:
        return [each for each in self.shown if each.kind == kind]

    def sound(self) -> bytes:
        return b"".join(each.content for each in self.of(PCM16))
