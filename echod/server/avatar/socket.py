"""The WebSocket /v1/avatar: a face for somebody else's voice agent. Sound goes in, sound and pictures come out."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import parse_qs

from websockets.exceptions import ConnectionClosed

from echod.errors import EchodError, invalid
from echod.server.avatar.outbox import Outbox
from echod.server.avatar.session import Session
from echod.server.avatar.start import Start, read_start
from echod.server.budget import Messages
from echod.server.front.closing import INTERNAL_ERROR, POLICY_VIOLATION, TRY_AGAIN_LATER, dismiss, let_go, until_first
from echod.server.front.connection import Connection
from echod.server.refusals import fault, json_object
from echod.server.services import Services

MAX_SOUND = 1 << 20  # bytes of one message: some 20 seconds
MAX_EVENT = 16 * 1024  # bytes
START_SECONDS = 30.0  # for the first message


async def avatar(connection: Connection, services: Services) -> None:
    """Serve one connection until it closes."""
    account = connection.caller.account
    with services.budget.share(account) as share, services.said.share(account) as sound:
        connection.messages = Messages(share)
        connection.take_messages(MAX_SOUND)
        outbox = Outbox(connection)
        try:
            start = await _started(connection, services)
            if start is not None:
                await _serve(connection, services, outbox, Session(services, start, outbox, sound))
        except EchodError as error:
            outbox.tell("error", error=fault(error))
            await outbox.drain()
            await connection.close(POLICY_VIOLATION, error.code)
        finally:
            connection.messages = None


async def _started(connection: Connection, services: Services) -> Start | None:
    """What the first message asks for; None if there is none."""
    role = parse_qs(connection.target.query).get("role", [None])[-1]
    if services.desk.draining:
        raise EchodError("draining", "this daemon is shutting down; try again when it is back")
    with contextlib.suppress(ConnectionClosed):
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await connection.recv()
        except TimeoutError:
            raise invalid(f"nothing came within {START_SECONDS:g} s: the first message is to be a start") from None
        start = await read_start(_event(message), role, services, connection.caller)
        connection.acted_on()
        return start
    return None


async def _serve(connection: Connection, services: Services, outbox: Outbox, session: Session) -> None:
    try:
        await until_first(
            _read(connection, session, outbox),
            outbox.run(),
            outbox.stuck.wait(),
            session.broken.wait(),
            dismiss(connection, services),
        )
    finally:
        await session.close()
    if outbox.stuck.is_set():
        await let_go(connection, TRY_AGAIN_LATER, "this client reads too slowly")
    elif session.broken.is_set():
        await outbox.drain()
        await let_go(connection, INTERNAL_ERROR, "internal")


async def _read(connection: Connection, session: Session, outbox: Outbox) -> None:
    """Act on whatever the client sends."""
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            try:
                if isinstance(message, bytes):
                    session.hear(message)
                else:
                    await session.handle(_event(message))
            except EchodError as error:
                outbox.tell("error", error=fault(error))
                await outbox.room()  # who does not read is not read
            connection.acted_on()


def _event(message: str | bytes) -> dict[str, object]:
    if isinstance(message, bytes):
        raise invalid("the first message must be JSON text of the type start; sound comes after it")
    if len(message) > MAX_EVENT:
        raise invalid(f"the event has {len(message)} characters; at most {MAX_EVENT} are accepted")
    return json_object("event", message)
