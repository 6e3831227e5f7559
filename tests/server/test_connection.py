"""What a WebSocket's client may have the daemon take in at once, and keep."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import Event

from echod.server.front.connection import FRAMES_SIZE, MAX_FRAGMENTS, Connection
from echod.server.realtime.session import Session
from echod.server.realtime.socket import MAX_EVENT
from tests.drivers.asking import until
from tests.stand_ins.daemon import Daemon

pytestmark = pytest.mark.timeout(60)

FIRST, NEXT, LAST = b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0", b"\x80\x80\0\0\0\0"  # empty fragments of one text
PING = b"\x89\x80\0\0\0\0"


async def test_fragments(daemon: Daemon) -> None:
    """A message may come in many fragments, but not in so many that keeping them is what matters."""
    async with daemon.events() as client:
        client.transport.write(FIRST + NEXT * (MAX_FRAGMENTS - 1) + LAST + FIRST + LAST)
        await (await client.ping())
        client.transport.write(FIRST + NEXT * MAX_FRAGMENTS)
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(10):
                await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1009, "a message may have 1024 fragments")


async def test_frames_are_taken_in_a_few_at_a_time(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a client has sent, others have their turn after a few thousand of its smallest frames."""
    sizes, data_received = [], Connection.data_received

    def watched(self: Connection, data: bytes) -> None:
        sizes.append(len(data))
        data_received(self, data)

    monkeypatch.setattr(Connection, "data_received", watched)
    async with daemon.events() as client:
        client.transport.write(PING * 100_000)
        await (await client.ping())
    assert sum(sizes) > 600_000
    assert max(sizes) == FRAMES_SIZE


async def test_events_that_wait(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one event is acted on, the daemon reads no more than the next two, whatever their size."""
    gate, taken, process_event = asyncio.Event(), [], Connection.process_event

    async def handle(self: Session, event: dict[str, Any]) -> None:
        await gate.wait()

    def watched(self: Connection, event: Event) -> None:
        process_event(self, event)
        taken.append(self)

    monkeypatch.setattr(Session, "handle", handle)
    monkeypatch.setattr(Connection, "process_event", watched)
    event = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * MAX_EVENT})
    async with connect(f"{daemon.base.replace('http', 'ws')}/v1/realtime?model=auto") as client:
        sending = asyncio.gather(*(client.send(event) for _ in range(100)))
        await until(lambda: len(taken) > 2 and not taken[-1].transport.is_reading())
        before = len(taken)
        gate.set()
        await sending
        await until(lambda: len(taken) == 101)
    assert before == 4  # the request, one that is acted on, two that wait
