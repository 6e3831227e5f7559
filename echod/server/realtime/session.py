"""What a client of /v1/realtime may say, each event acted on, and how it is told what happens."""

from __future__ import annotations

import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import InitVar, dataclass, replace
from functools import partial
from typing import Any

from echod.conversation.dialogue import Cause, Dialogue, Outcome
from echod.conversation.happening import Happening
from echod.conversation.history import Item
from echod.conversation.store import Conversation, SessionSettings
from echod.conversation.turn import Turn
from echod.errors import EchodError, invalid
from echod.roles.role import Role
from echod.server.realtime.item_object import item_object, read_item
from echod.server.realtime.response import Response, Send
from echod.server.realtime.session_object import PRESETS, changed, of_response, session_object
from echod.server.refusals import fault
from echod.server.services import Addresses, Services
from echod.speech.tools import Toolbox
from echod.speech.voices import find_voice

MAX_MS = 86_400_000  # a day: more than any answer takes, and no number too large to divide


@dataclass
class Session:
    """One connection to a conversation. Whatever it has to say goes through `send`."""

    services: Services
    send: Send
    addresses: Addresses
    conversation: Conversation
    role: InitVar[Role | None]
    model: str
    voice: str | None  # that speaks where the session names none
    _response: Response | None = None  # the last one

    def __post_init__(self, role: Role | None) -> None:
        self.send("session.created", session=self._object())
        self._dialogue = Dialogue(
            self.conversation,
            role,
            self,
            calls=self.services.calls,
            desk=self.services.desk,
            scratch=self.services.conversations.scratch,
            latest=self.services.roles.latest,
            at_work=partial(self.services.accounts.at_work, self.conversation.account),
        )

    async def close(self) -> None:
        await self._dialogue.close()

    async def handle(self, event: dict[str, Any]) -> None:
        """Act on an event. Raises EchodError for one that cannot be acted on."""
        handlers: Mapping[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": lambda event: self._dialogue.commit(),
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.truncate": self._truncate,
            "conversation.item.delete": self._delete,
            "response.create": self._create_response,
            "response.cancel": self._cancel,
        }
        kind = event.get("type")
        if not isinstance(kind, str) or kind not in handlers:
            raise invalid(f"there is no event {kind!r}; known are {', '.join(handlers)}", "type")
        await handlers[kind](event)

    def _object(self) -> dict[str, Any]:
        return session_object(self.conversation, self.model, self.voice)

    # What a client may say

    async def _update(self, event: dict[str, Any]) -> None:
        settings = changed(self.conversation.settings, event.get("session"))
        await self._dialogue.change(await self._possible(settings))
        self.send("session.updated", session=self._object())

    async def _possible(self, settings: SessionSettings) -> SessionSettings:
        """As far as it can be had here, which is shown: for tools somebody must reply who knows what to do with them.

        In the place of a preset voice of OpenAI's that nobody here has is the one that was to speak anyway.
        """
        if settings.tools.tools and not self.services.calls.calls_tools:
            settings = replace(settings, tools=Toolbox())
        if settings.voice in PRESETS:
            try:
                await find_voice(self.services.calls, settings.voice)
            except EchodError:
                return replace(settings, voice=self.conversation.settings.voice)
        return settings

    async def _append(self, event: dict[str, Any]) -> None:
        try:
            sound = binascii.a2b_base64(event.get("audio", ""), strict_mode=True)
        except (TypeError, ValueError):
            raise invalid("audio must be base64 of pcm16, mono, 24 kHz", "audio") from None
        await self._dialogue.listen(sound)

    async def _clear(self, event: dict[str, Any]) -> None:
        self._dialogue.clear()
        self.send("input_audio_buffer.cleared")

    async def _create_item(self, event: dict[str, Any]) -> None:
        item, after = read_item(event.get("item")), event.get("previous_item_id")
        if self.conversation.history.find(item.id) is not None:
            raise invalid(f"there is an item {item.id!r} already", "item.id")
        try:
            previous = self._dialogue.add(item, None if after is None else str(after))
        except ValueError:
            raise invalid(f"there is no item {after!r} to put this one behind", "previous_item_id") from None
        self._tell_item(item, previous)

    async def _truncate(self, event: dict[str, Any]) -> None:
        item, end_ms = self._item(event), event.get("audio_end_ms")
        if item.author != "assistant" or not item.spoken:
            raise invalid(f"item {item.id!r} is no speech of the assistant", "item_id")
        if isinstance(end_ms, bool) or not isinstance(end_ms, int) or not 0 <= end_ms <= MAX_MS:
            raise invalid(f"audio_end_ms must be a whole number of milliseconds from 0 to {MAX_MS}", "audio_end_ms")
        await self._dialogue.truncate(item, end_ms / 1000)
        told = {"item_id": item.id, "content_index": 0, "audio_end_ms": end_ms}
        left = {"transcript": item.text}  # which OpenAI's event does not tell
        self.send("conversation.item.truncated", **told, **left)

    async def _retrieve(self, event: dict[str, Any]) -> None:
        item = self._item(event, "item_retrieve_invalid_item_id")
        self.send("conversation.item.retrieved", item=item_object(item))

    async def _delete(self, event: dict[str, Any]) -> None:
        item = self._item(event)
        await self._dialogue.delete(item)
        self.send("conversation.item.deleted", item_id=item.id)

    def _item(self, event: dict[str, Any], code: str = "invalid_request") -> Item:
        """The one that an event is about. EchodError with this code if it is not there."""
        item_id = event.get("item_id")
        if (item := self.conversation.history.find(str(item_id))) is None:
            raise EchodError(code, f"there is no item {item_id!r}", param="item_id")
        return item

    async def _create_response(self, event: dict[str, Any]) -> None:
        given = event.get("response") or {}
        settings = of_response(self.conversation.settings, given)
        await self._dialogue.answer(await self._possible(settings), given.get("metadata"))

    async def _cancel(self, event: dict[str, Any]) -> None:
        last = self._response.id if self._response else ""
        wanted = event.get("response_id") or last
        if not self._dialogue.speaking:
            raise EchodError("response_cancel_not_active", "no response is in progress: there is nothing to cancel")
        if wanted != last:
            told = f"response {wanted!r} is not in progress; it is {last!r}"
            raise EchodError("response_cancel_not_active", told, param="response_id")
        await self._dialogue.interrupt("client_cancelled")

    # What it is told

    def speech_started(self, ms: int, item_id: str) -> None:
        self.send("input_audio_buffer.speech_started", audio_start_ms=ms, item_id=item_id)

    def speech_stopped(self, ms: int, item_id: str) -> None:
        self.send("input_audio_buffer.speech_stopped", audio_end_ms=ms, item_id=item_id)

    def said(self, item: Item, previous: str | None) -> None:
        self.send("input_audio_buffer.committed", item_id=item.id, previous_item_id=previous)
        self._tell_item(item, previous)

    def _tell_item(self, item: Item, previous: str | None) -> None:
        for what in ("added", "done"):
            self.send(f"conversation.item.{what}", previous_item_id=previous, item=item_object(item))

    def heard(self, item: Item, seconds: float, heard: str | EchodError) -> None:
        told: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        if isinstance(heard, EchodError):
            self.send(f"{kind}.failed", **told, error=fault(heard))
        else:
            usage = {"type": "duration", "seconds": seconds}
            self.send(f"{kind}.completed", **told, transcript=heard, usage=usage)

    def answering(self, item: Item, previous: str | None, settings: SessionSettings, metadata: Any) -> None:
        self._response = Response(self.send, item, previous, settings, self.conversation.id, self.addresses, metadata)
        self._response.begin()

    def calling(self, item: Item, previous: str | None) -> None:
        assert self._response is not None
        self._response.begin_call(item, previous)

    def called(self, item: Item, delta: str | None) -> None:
        assert self._response is not None
        self._response.tell_call(item, delta)

    def happened(self, happening: Happening) -> None:
        assert self._response is not None
        self._response.tell(happening)

    def answered(self, turn: Turn, outcome: Outcome, cause: Cause | None) -> None:
        assert self._response is not None
        self._response.end(turn, outcome, cause)
        self.services.metrics.turned(outcome, turn.timings)
        if self.services.traces:
            self.services.traces.turn(outcome, turn.timings, self.conversation.account)

    def refused(self, error: EchodError) -> None:
        self.send("error", error=fault(error))
