"""The WebSocket /v1/realtime: a conversation, in the events of OpenAI Realtime."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import parse_qs

import msgspec
from websockets.exceptions import ConnectionClosed

from echod.conversation.ear import SECOND
from echod.conversation.store import Conversation, SessionSettings
from echod.errors import EchodError, invalid
from echod.roles.role import Role
from echod.server.budget import Messages
from echod.server.front.closing import POLICY_VIOLATION, TRY_AGAIN_LATER, dismiss, let_go, until_first
from echod.server.front.connection import Connection
from echod.server.realtime.events import BY_TYPE
from echod.server.realtime.session import Session
from echod.server.realtime.session_object import TRANSCRIPTION
from echod.server.refusals import fault, json_object
from echod.server.services import Services
from echod.speech.voices import default_voice

MAX_EVENT = 256 * 1024  # bytes of an event without sound: instructions, each character an escaped surrogate pair
MAX_APPEND = 16 << 20  # bytes of one with sound, however long an utterance may last
MAX_PENDING = 64 << 20  # bytes that may wait for a client before it is let go


async def realtime(connection: Connection, services: Services) -> None:
    """Serve one connection until it closes."""
    with services.budget.share(connection.caller.account) as share:
        connection.messages = Messages(share)
        try:
            await _serve(connection, services)
        finally:
            connection.messages = None


async def _serve(connection: Connection, services: Services) -> None:
    connection.take_messages(largest_event(services.config.max_utterance))
    outbox = Outbox(connection)
    try:
        conversation, role, model, voice = await _join(connection, services)
    except EchodError as error:
        outbox.send("error", error=fault(error))
        await outbox.drain()
        await connection.close(POLICY_VIOLATION, error.code)
        return
    addresses = services.addresses(connection.host, connection.addresses[0])
    session = Session(services, outbox.send, addresses, conversation, role, model, voice)
    taken = asyncio.Event()  # the conversation goes on over another connection
    conversation.leave = taken.set
    try:
        await until_first(
            _read(connection, session, outbox),
            outbox.run(),
            taken.wait(),
            outbox.full.wait(),
            dismiss(connection, services),
        )
    finally:
        await session.close()
        if not taken.is_set():
            services.conversations.left(conversation)
    if taken.is_set():
        await let_go(connection, POLICY_VIOLATION, "this conversation goes on over another connection")
    elif outbox.full.is_set():
        await let_go(connection, TRY_AGAIN_LATER, "this client reads too slowly")


async def _read(connection: Connection, session: Session, outbox: Outbox) -> None:
    """Act on every event the client sends."""
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            event: dict[str, Any] = {}
            try:
                event = _decode(message)
                await session.handle(event)
            except EchodError as error:
                outbox.send("error", error=msgspec.structs.asdict(fault(error)) | {"event_id": event.get("event_id")})
            connection.acted_on()


def largest_event(max_utterance: float) -> int:
    """Bytes: an utterance as base64, and what is around it."""
    return int(min(max_utterance * SECOND * 4 / 3 + MAX_EVENT, MAX_APPEND))


class _Append(msgspec.Struct, tag_field="type", tag="input_audio_buffer.append"):
    """The one event that may be large. Whatever else it holds is passed over, and makes no objects."""

    audio: str
    event_id: str | None = None


_appends = msgspec.json.Decoder(_Append)


def _decode(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise invalid("events are JSON text; sound goes into input_audio_buffer.append as base64")
    if len(message) <= MAX_EVENT:
        return json_object("event", message)
    try:
        return dict(msgspec.to_builtins(_appends.decode(message)))
    except (msgspec.MsgspecError, RecursionError):
        raise invalid(
            f"the event has {len(message)} characters; at most {MAX_EVENT} are accepted of any but an "
            "input_audio_buffer.append with its sound as `audio`"
        ) from None


async def _join(connection: Connection, services: Services) -> tuple[Conversation, Role | None, str, str | None]:
    """The conversation that a client asks for, with whom, by which name, and whose voice that is."""
    query = parse_qs(connection.target.query)
    model, wanted = query.get("model", [""])[-1], query.get("conversation", [""])[-1]
    role: Role | None = None
    if model.startswith("role:"):
        role = await services.roles.find(model.removeprefix("role:"))
    elif model not in ("", "auto", *services.desk.engines) and TRANSCRIPTION not in query.get("intent", ()):
        raise EchodError(
            "model_not_loaded",
            f"model {model!r} is not here; name a role as role:<name> (GET /v1/roles lists them), or none",
            param="model",
        )
    intent = query.get("intent", [""])[-1]
    if intent not in ("", TRANSCRIPTION):
        raise invalid(f"intent = {intent!r}: {TRANSCRIPTION} is known, and none for a conversation", "intent")
    if services.desk.draining:
        raise EchodError("draining", "this daemon is shutting down; try again when it is back")
    voice = (role.file.voice if role else None) or await _default_voice(services)
    name, account = role.name if role else None, connection.caller.account
    conversations = services.conversations
    if wanted:
        return conversations.resume(wanted, account, name), role, model, voice
    return conversations.open(account, name, SessionSettings(answers=intent != TRANSCRIPTION)), role, model, voice


async def _default_voice(services: Services) -> str | None:
    with contextlib.suppress(EchodError):  # where there is none, that is told when somebody is to speak
        return str(await default_voice(services.calls))
    return None


class Outbox:
    """Events on their way to a client, in order. It is `full` once too much waits for one that reads too slowly."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._pending = 0
        self.full = asyncio.Event()

    def send(self, type: str, **fields: Any) -> None:
        text = msgspec.json.encode(BY_TYPE[type](**fields)).decode()
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
