"""The WebSocket /v1/events: every change of the caller's jobs, as it happens."""

from __future__ import annotations

import contextlib
from urllib.parse import parse_qs

import msgspec
from websockets.exceptions import ConnectionClosed

from echod.jobs.feed import FeedEvent, JobEvent, Watcher
from echod.server.front.closing import POLICY_VIOLATION, TRY_AGAIN_LATER, dismiss, let_go, until_first
from echod.server.front.connection import Connection
from echod.server.objects import Video, video_object
from echod.server.services import Addresses, Services


async def events(connection: Connection, services: Services) -> None:
    """Serve one connection until it closes."""
    try:
        given = parse_qs(connection.target.query).get("after")
        after = int(given[-1]) if given else None
    except ValueError:
        await connection.close(POLICY_VIOLATION, "after must be a seq that an event carried")
        return
    await _tell(connection, services, after)


async def _tell(connection: Connection, services: Services, after: int | None) -> None:
    watcher = services.desk.feed.watch(connection.caller.sees, after)
    try:
        await until_first(_read(connection), _send(connection, watcher, services), dismiss(connection, services))
    finally:
        watcher.close()


async def _read(connection: Connection) -> None:
    """Nothing is expected from the client, but only who reads sees pings, and the close."""
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass


async def _send(connection: Connection, watcher: Watcher, services: Services) -> None:
    addresses = services.addresses(connection.host, connection.addresses[0])
    with contextlib.suppress(ConnectionClosed):
        async for event in watcher:
            await connection.send(message(event, services, addresses))
        await let_go(connection, TRY_AGAIN_LATER, "this client reads too slowly; come back with ?after=")


class Change(msgspec.Struct, frozen=True):
    """A job as it is now. `seq` grows across restarts, and `?after=` resumes with it; `ts` is when, in seconds."""

    type: JobEvent
    seq: int
    ts: float
    video: Video


def message(event: FeedEvent, services: Services, addresses: Addresses) -> str:
    video = video_object(event.job, services.desk, addresses)
    return msgspec.json.encode(Change(event.type, event.seq, event.ts, video)).decode()
