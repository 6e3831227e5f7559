"""What a client of /v1/realtime may do: each event that it can send, acted on."""

from __future__ import annotations

import asyncio
import binascii
import logging
import secrets
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from itertools import takewhile
from typing import Any

from echod.conversation import OPENING, SPOKEN_STYLE, Modality, Request, Turn
from echod.conversations import Conversation
from echod.ear import Began, Ear, Stopped
from echod.errors import EchodError
from echod.history import Item
from echod.roles import Role
from echod.server.refusals import body, invalid
from echod.server.response import Reason, Response, Send, Status, item_object
from echod.server.services import Addresses, Services
from echod.server.session_object import changed, instructions, modality, session_object
from echod.speech import base
from echod.speech.voices import find_voice

log = logging.getLogger("echod.conversation")

MAX_TEXT = 10_000  # characters of a message
MIN_UTTERANCE_MS = 100
MAX_MS = 86_400_000  # a day: more than any answer takes, and no number too large to divide


class Session:
    """One connection to a conversation. Whatever it has to say goes through `send`."""

    def __init__(
        self,
        services: Services,
        send: Send,
        addresses: Addresses,
        conversation: Conversation,
        role: Role | None,
        model: str,
    ) -> None:
        self._services = services
        self._send = send
        self._addresses = addresses
        self._conversation = conversation
        self._history = conversation.history
        self._role = role
        self._model = model
        self._ear = Ear(conversation.settings.detection)
        self._utterance = new_id("item")  # the item that what is being said will become
        # What was said and is not answered yet, by item:
        self._sounds: dict[str, bytes] = {}
        self._hearing: dict[str, asyncio.Task[str]] = {}
        self._committed_at = 0.0
        self._turn: Turn | None = None
        self._response: asyncio.Task[None] | None = None
        self._reason: Reason = "client_cancelled"
        send("session.created", session=self._object())

    async def close(self) -> None:
        """Stop whatever is still being heard, and the turn."""
        for hearing in self._hearing.values():
            hearing.cancel()
        await asyncio.gather(*self._hearing.values(), return_exceptions=True)
        await self._interrupt("client_cancelled")
        self._ear.close()

    async def handle(self, event: dict[str, Any]) -> None:
        """Act on an event. Raises EchodError for one that cannot be acted on."""
        handlers: Mapping[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.truncate": self._truncate,
            "response.create": self._create_response,
            "response.cancel": self._cancel,
        }
        kind = event.get("type")
        if not isinstance(kind, str) or kind not in handlers:
            raise invalid(f"there is no event {kind!r}; known are {', '.join(handlers)}", "type")
        await handlers[kind](event)

    # The session

    def _object(self) -> dict[str, Any]:
        return session_object(self._conversation, self._model)

    async def _update(self, event: dict[str, Any]) -> None:
        before = self._conversation.settings
        settings = changed(before, event.get("session"))
        self._check_modality(settings.modality)
        if settings.voice not in (None, before.voice):
            await find_voice(self._services.calls, settings.voice)
        self._conversation.settings = settings
        if settings.detection != before.detection:
            self._ear.detect(settings.detection)
        self._send("session.updated", session=self._object())

    def _check_modality(self, wanted: Modality) -> None:
        if wanted == "video" and self._role is None:
            raise invalid("video needs the portrait of a role: connect with ?model=role:<name>", "output_modalities")

    # What is said

    async def _append(self, event: dict[str, Any]) -> None:
        try:
            sound = b64decode(event.get("audio", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise invalid("audio must be base64 of pcm16, mono, 24 kHz", "audio") from None
        limit = self._services.config.max_utterance
        for noticed in self._ear.feed(sound):
            await self._notice(noticed)
        if self._ear.kept_ms > 1000 * limit:
            self._ear.clear()
            raise invalid(
                f"an utterance may last max_utterance = {limit:g} s; what was said is dropped: commit sooner", "audio"
            )

    async def _notice(self, noticed: Began | Stopped) -> None:
        detection = self._conversation.settings.detection
        match noticed:
            case Began(ms=ms):
                self._send("input_audio_buffer.speech_started", audio_start_ms=ms, item_id=self._utterance)
                if detection is not None and detection.interrupt_response:
                    await self._interrupt("turn_detected")
            case Stopped(ms=ms, sound=sound):
                self._send("input_audio_buffer.speech_stopped", audio_end_ms=ms, item_id=self._utterance)
                self._take(sound)
                if detection is not None and detection.create_response:
                    await self._answer({})

    async def _commit(self, event: dict[str, Any]) -> None:
        if self._ear.kept_ms < MIN_UTTERANCE_MS:
            kept = f"the buffer holds {self._ear.kept_ms} ms of sound, and at least {MIN_UTTERANCE_MS} are needed"
            raise invalid(f"{kept}; append more before committing")
        await self._interrupt("turn_detected")
        self._take(self._ear.take())

    async def _clear(self, event: dict[str, Any]) -> None:
        self._ear.clear()
        self._send("input_audio_buffer.cleared")

    def _take(self, sound: bytes) -> None:
        """What was said becomes an item, and is heard."""
        item = Item(id=self._utterance, author="user", spoken=True)
        self._utterance = new_id("item")
        self._committed_at = _now()
        previous = self._history.add(item)
        self._send("input_audio_buffer.committed", item_id=item.id, previous_item_id=previous)
        self._tell_item(item, previous)
        if self._omni:
            self._sounds[item.id] = sound
        if self._conversation.settings.transcribe or not self._omni:
            self._hearing[item.id] = asyncio.create_task(self._hear(item, sound))

    @property
    def _omni(self) -> bool:
        """Whether sound goes to the model that replies. One that takes words only is given what was heard."""
        services = self._services
        return services.config.understanding == "omni" and services.calls.backend("reply").hears_turns

    async def _hear(self, item: Item, sound: bytes) -> str:
        told = {"item_id": item.id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        try:
            item.text = await self._services.calls.hear(
                sound, account=self._conversation.account, language=self._language
            )
        except (EchodError, asyncio.CancelledError) as error:
            known = error if isinstance(error, EchodError) else EchodError("cancelled", "nobody waits for it any more")
            self._send(f"{kind}.failed", **told, error=body(known)["error"])
            raise
        usage = {"type": "duration", "seconds": len(sound) / 2 / base.HEAR_RATE}
        self._send(f"{kind}.completed", **told, transcript=item.text, usage=usage)
        return item.text

    @property
    def _language(self) -> str | None:
        return self._conversation.settings.language or (self._role.file.language if self._role else None)

    # What is written

    async def _create_item(self, event: dict[str, Any]) -> None:
        item, after = read_item(event.get("item")), event.get("previous_item_id")
        try:
            self._history.find(item.id)
        except KeyError:
            pass
        else:
            raise invalid(f"there is an item {item.id!r} already", "item.id")
        try:
            previous = self._history.add(item, None if after in (None, "root") else str(after))
        except KeyError:
            raise invalid(f"there is no item {after!r} to put this one behind", "previous_item_id") from None
        self._tell_item(item, previous)

    def _tell_item(self, item: Item, previous: str | None) -> None:
        for what in ("added", "done"):
            self._send(f"conversation.item.{what}", previous_item_id=previous, item=item_object(item))

    async def _truncate(self, event: dict[str, Any]) -> None:
        item_id, end_ms = event.get("item_id"), event.get("audio_end_ms")
        try:
            item = self._history.find(str(item_id))
        except KeyError:
            raise invalid(f"there is no item {item_id!r}", "item_id") from None
        if item.author != "assistant" or not item.spoken or item.status == "in_progress":
            raise invalid(f"item {item_id!r} is no speech of the assistant that has ended", "item_id")
        if isinstance(end_ms, bool) or not isinstance(end_ms, int) or not 0 <= end_ms <= MAX_MS:
            raise invalid(f"audio_end_ms must be a whole number of milliseconds from 0 to {MAX_MS}", "audio_end_ms")
        self._history.truncate(item, end_ms / 1000)
        self._send("conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=end_ms)

    # Answering

    async def _create_response(self, event: dict[str, Any]) -> None:
        given = event.get("response") or {}
        if not isinstance(given, dict):
            raise invalid("response must be an object", "response")
        for name in ("input", "tools"):
            if given.get(name):
                raise invalid(f"response.{name} is not supported here; leave it out", f"response.{name}")
        if self._turn is not None:
            if not self._unanswered():
                raise invalid("a response is in progress; cancel it, or say something first")
            await self._interrupt("turn_detected")
        await self._answer(given)

    async def _cancel(self, event: dict[str, Any]) -> None:
        if self._turn is None:
            raise invalid("no response is in progress")
        await self._interrupt("client_cancelled")

    async def _interrupt(self, reason: Reason) -> None:
        """End the turn in progress, if there is one; returns when its end has been told."""
        turn, response = self._turn, self._response
        if turn is not None and response is not None:
            self._reason = reason
            await turn.stop()
            await response

    def _unanswered(self) -> list[Item]:
        """What was said since the last answer; one that was cancelled before its first word is none."""
        items: list[Item] = []
        for item in reversed(self._history.items):
            if item.author == "assistant" and (item.text or item.status == "in_progress"):
                break
            if item.author == "user":
                items.insert(0, item)
        return items

    async def _answer(self, given: Mapping[str, Any]) -> None:
        """Begin a turn. `given` is what a response.create asks for beyond the session."""
        if self._services.desk.draining:
            raise EchodError("draining", "this daemon is shutting down; come back when it is up again")
        settings = self._conversation.settings
        wanted = settings.modality
        if given.get("output_modalities") is not None:
            wanted = modality(given["output_modalities"], "response.output_modalities")
            self._check_modality(wanted)
        extra = instructions(given.get("instructions") or "", "response.instructions")
        request = self._request(wanted, extra)
        item = Item(id=new_id("item"), author="assistant", spoken=wanted != "text", status="in_progress")
        previous = self._history.add(item)
        response = Response(self._send, item, wanted, self._conversation.id, self._addresses, given.get("metadata"))
        response.begin(previous)
        began = self._committed_at if request.heard or request.turn.sound else _now()
        self._turn = Turn(
            self._services.calls, self._services.desk, request, response.tell, self._services.scratch, began
        )
        self._response = asyncio.create_task(self._run(self._turn, response))

    def _request(self, wanted: Modality, extra: str) -> Request:
        question, settings = self._unanswered(), self._conversation.settings
        if not question and any(item.author == "assistant" for item in self._history.items):
            raise invalid("there is nothing to answer: create an item or commit sound first")
        limit = self._services.config.history_tokens
        before = question[0] if question else None
        sounds = [self._sounds[item.id] for item in question if item.id in self._sounds]
        hearing = [self._hearing[item.id] for item in question if item.id in self._hearing]
        greeting = self._role.file.greeting if self._role and not question else ""
        turn = base.Turn(
            text="\n".join(item.text for item in question if item.text) if question else OPENING,
            sound=b"".join(sounds) if sounds and self._omni else None,
            personality=self._personality(wanted, extra),
            history=self._history.messages(limit, before),
        )
        return Request(
            account=self._conversation.account,
            turn=turn,
            heard=partial(self._all_heard, question, hearing) if hearing and not self._omni else None,
            words=greeting or None,
            modality=wanted,
            role=self._role,
            voice=settings.voice or (self._role.file.voice if self._role else None),
            language=self._language,
        )

    async def _all_heard(self, question: list[Item], hearing: list[asyncio.Task[str]]) -> str:
        """The words of everything that was said, once all of it is heard."""
        await asyncio.wait(hearing)  # which goes on if the answer is cancelled
        for each in hearing:
            each.result()
        return "\n".join(item.text for item in question if item.text)

    def _personality(self, wanted: Modality, extra: str) -> str:
        style = SPOKEN_STYLE if wanted != "text" else ""
        language = f"Answer in this language: {self._language}." if self._language else ""
        own = self._role.file.personality if self._role else ""
        return "\n\n".join(filter(None, (own, self._conversation.settings.instructions, extra, style, language)))

    async def _run(self, turn: Turn, response: Response) -> None:
        """See a turn to its end, and tell of it."""
        with self._services.accounts.at_work(self._conversation.account):
            task = turn.start()
            await asyncio.wait([task])
        status: Status = "completed"
        if task.cancelled():
            status = "cancelled"
        elif error := task.exception():
            log.error("a turn broke", exc_info=error)
            turn.error = EchodError("internal", "something failed inside the daemon; its log says what")
        if turn.error is not None and status == "completed":
            status = "failed"
        self._remember(response.item, turn, status)
        self._turn = self._response = None
        response.end(status, turn.text, turn.timings, turn.error, self._reason if status == "cancelled" else None)
        self._services.metrics.turned(status, turn.timings)
        log.info("turn %s", status, extra={"account": self._conversation.account, **vars(turn.timings)})

    def _remember(self, item: Item, turn: Turn, status: Status) -> None:
        item.text, item.parts = turn.text, turn.parts
        item.status = "completed" if status == "completed" else "incomplete"
        if status == "cancelled" and item.spoken:
            self._history.truncate(item, turn.playback.heard(_now()))
        if item.text:
            self._forget_before(item)
        elif self._reason == "client_cancelled":
            self._stop_hearing(item)

    def _forget_before(self, answer: Item) -> None:
        """Let go of what is answered."""
        for item in self._before(answer):
            self._sounds.pop(item.id, None)
            if (hearing := self._hearing.get(item.id)) and hearing.done():
                del self._hearing[item.id]

    def _stop_hearing(self, answer: Item) -> None:
        """Do not go on to hear what nobody wants answered."""
        for item in self._before(answer):
            if hearing := self._hearing.pop(item.id, None):
                hearing.cancel()

    def _before(self, answer: Item) -> Iterator[Item]:
        return takewhile(lambda item: item is not answer, self._history.items)


def read_item(given: Any) -> Item:
    """A message that a client writes. EchodError invalid_request for what is none."""
    if not isinstance(given, dict) or given.get("type") != "message":
        raise invalid("item must be an object of type message", "item")
    author = given.get("role")
    if author not in ("user", "assistant", "system"):
        raise invalid(f"item.role = {author!r}: it must be user, assistant or system", "item.role")
    parts = given.get("content")
    if not isinstance(parts, list) or not parts:
        raise invalid("item.content must be a list of parts", "item.content")
    text = "\n".join(_part_text(part, number) for number, part in enumerate(parts))
    if not 0 < len(text) <= MAX_TEXT:
        raise invalid(f"a message has 1 to {MAX_TEXT} characters, this one {len(text)}", "item.content")
    item_id = given.get("id") or new_id("item")
    if not isinstance(item_id, str) or len(item_id) > 64:
        raise invalid("item.id must be text of at most 64 characters", "item.id")
    return Item(id=item_id, author=author, text=text)


def _part_text(part: Any, number: int) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("input_text", "output_text", "text") or not isinstance(part.get("text"), str):
        raise invalid(
            f"item.content[{number}] must be text: sound goes into input_audio_buffer.append, pictures are not seen",
            f"item.content[{number}]",
        )
    return str(part["text"])


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"


def _now() -> float:
    return asyncio.get_running_loop().time()
