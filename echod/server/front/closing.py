"""How long a WebSocket is served, and how it is closed from this side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from echod.server.front.connection import Connection
from echod.server.services import Services

POLICY_VIOLATION, INTERNAL_ERROR, TRY_AGAIN_LATER = 1008, 1011, 1013  # RFC 6455 and the IANA registry of close codes
CLOSE_SECONDS = 5.0  # for a client to take leave
LOOK_AGAIN = 60.0  # seconds until credentials are looked at again, for the clock may be set meanwhile


async def until_first(*works: Coroutine[Any, Any, object]) -> None:
    """Run them until one ends. What went wrong is raised once all have ended, and closes the socket with 1011."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def let_go(connection: Connection, code: int, reason: str) -> None:
    """Close, whether the client reads or not: `close` waits for what it has not read, and for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close(code, reason)
    connection.transport.abort()


async def dismiss(connection: Connection, services: Services) -> None:
    """Close the socket once what let its caller in is taken back, or expires."""
    grant, ended = connection.caller.grant, asyncio.Event()
    if grant is None:
        await ended.wait()
        return
    with grant.telling(ended.set):
        while grant.holds(now := services.accounts.clock()):
            left = None if grant.expires_at is None else min(grant.expires_at - now, LOOK_AGAIN)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await ended.wait()
    await let_go(connection, POLICY_VIOLATION, "the credentials of this socket have ended")
