"""What a client of /v1/realtime may do: each event that it can send, acted on."""

from __future__ import annotations

import asyncio
import binascii
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from echod.conversation.ear import INPUT_RATE, Began, Ear, Stopped
from echod.conversation.history import OPENING, Item, Playback, question
from echod.conversation.store import Conversation, SessionSettings
from echod.conversation.transcripts import Transcripts
from echod.conversation.turn import SPOKEN_STYLE, Turn, TurnRequest
from echod.errors import EchodError
from echod.roles.role import Role
from echod.server.realtime.item_object import item_object, new_item_id, read_item
from echod.server.realtime.response import Reason, Response, Send, Status
from echod.server.realtime.session_object import changed, of_response, session_object
from echod.server.refusals import body, invalid
from echod.server.services import Addresses, Services
from echod.sound.pcm import SAMPLE
from echod.speech import backend as base
from echod.speech.voices import find_voice

log = logging.getLogger("echod.conversation")

SECOND = INPUT_RATE * SAMPLE  # bytes
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
        self._utterance = new_item_id()  # of the item that what is being said will become
        at_work = partial(services.accounts.at_work, conversation.account)
        self._hearing = conversation.hearing or Transcripts(services.calls, conversation.account, at_work)
        conversation.hearing = self._hearing
        self._committed_at = 0.0
        self._turn: Turn | None = None
        self._running: asyncio.Task[None] | None = None  # it, to its end
        self._response_id = ""
        self._reason: Reason = "client_cancelled"
        self._waiting = False  # what was said meanwhile is to be answered after the turn in progress
        self._left = False
        self._playing: tuple[Item, Playback] | None = None  # the last answer, which may still be heard
        send("session.created", session=self._object())
        self._hearing.come(self._tell_heard)

    async def close(self) -> None:
        """Stop the turn, and whatever is still being heard; who comes back is heard again."""
        self._waiting, self._left = False, True
        await self._interrupt("client_cancelled")
        await self._hearing.leave(self._tell_heard)
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
        await self._check(settings)
        self._conversation.settings = settings
        if settings.detection != before.detection:
            self._ear.detect(settings.detection)
        self._send("session.updated", session=self._object())

    async def _check(self, settings: SessionSettings) -> None:
        if settings.modality == "video" and self._role is None:
            raise invalid("video needs the portrait of a role: connect with ?model=role:<name>", "output_modalities")
        if settings.voice not in (None, self._conversation.settings.voice):
            await find_voice(self._services.calls, settings.voice)

    # What is said

    async def _append(self, event: dict[str, Any]) -> None:
        try:
            sound = binascii.a2b_base64(event.get("audio", ""), strict_mode=True)
        except (TypeError, ValueError):
            raise invalid("audio must be base64 of pcm16, mono, 24 kHz", "audio") from None
        limit = self._services.config.max_utterance
        if len(sound) > SECOND * limit:
            raise invalid(
                f"an utterance may last max_utterance = {limit:g} s, and this piece of one lasts "
                f"{len(sound) / SECOND:.1f} s: send it in smaller pieces",
                "audio",
            )
        for start in range(0, len(sound), SECOND):
            await self._listen(sound[start : start + SECOND], limit)
            await asyncio.sleep(0)  # nobody else is to wait until a long piece is heard

    async def _listen(self, sound: bytes, limit: float) -> None:
        for noticed in self._ear.feed(sound):
            await self._notice(noticed)
        if self._ear.kept_ms <= 1000 * limit:
            return
        if self._ear.detection is not None:  # nobody has decided to say so much at once: it is answered as a whole
            self._stopped(self._ear.split())
            self._send("input_audio_buffer.speech_started", audio_start_ms=self._ear.now_ms, item_id=self._utterance)
        else:
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
            case Stopped() as stopped:
                self._stopped(stopped)
                if detection is not None and detection.create_response:
                    self._waiting = True
                    self._answer_waiting()

    def _stopped(self, stopped: Stopped) -> None:
        self._send("input_audio_buffer.speech_stopped", audio_end_ms=stopped.ms, item_id=self._utterance)
        self._take(stopped.sound)

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
        self._utterance = new_item_id()
        self._committed_at = _now()
        previous = self._add(item)
        self._send("input_audio_buffer.committed", item_id=item.id, previous_item_id=previous)
        self._tell_item(item, previous)
        if self._omni:
            self._hearing.keep(item, sound, self._services.config.max_utterance)
        if self._conversation.settings.transcribe or not self._omni:
            self._hearing.begin(item, sound, self._language)

    def _tell_heard(self, item: Item, seconds: float, heard: str | EchodError) -> None:
        told: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        if isinstance(heard, EchodError):
            self._send(f"{kind}.failed", **told, error=body(heard)["error"])
        else:
            usage = {"type": "duration", "seconds": seconds}
            self._send(f"{kind}.completed", **told, transcript=heard, usage=usage)

    @property
    def _omni(self) -> bool:
        """Whether sound goes to the model that replies. One that takes words only is given what was heard."""
        services = self._services
        return services.config.understanding == "omni" and services.calls.backend("reply").hears_turns

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
            previous = self._add(item, None if after is None else str(after))
        except KeyError:
            raise invalid(f"there is no item {after!r} to put this one behind", "previous_item_id") from None
        self._tell_item(item, previous)

    def _add(self, item: Item, after: str | None = None) -> str | None:
        previous = self._history.add(item, after)
        self._hearing.forget(self._history.trim(self._services.config.history_tokens))
        return previous

    def _tell_item(self, item: Item, previous: str | None) -> None:
        for what in ("added", "done"):
            self._send(f"conversation.item.{what}", previous_item_id=previous, item=item_object(item))

    async def _truncate(self, event: dict[str, Any]) -> None:
        item_id, end_ms = event.get("item_id"), event.get("audio_end_ms")
        try:
            item = self._history.find(str(item_id))
        except KeyError:
            raise invalid(f"there is no item {item_id!r}", "item_id") from None
        if item.author != "assistant" or not item.spoken:
            raise invalid(f"item {item_id!r} is no speech of the assistant", "item_id")
        if isinstance(end_ms, bool) or not isinstance(end_ms, int) or not 0 <= end_ms <= MAX_MS:
            raise invalid(f"audio_end_ms must be a whole number of milliseconds from 0 to {MAX_MS}", "audio_end_ms")
        if item.status == "in_progress":  # who stops listening wants no more of it
            await self._interrupt("client_cancelled")
        self._playing = None  # the client knows better
        self._history.truncate(item, end_ms / 1000)
        told = {"item_id": item.id, "content_index": 0, "audio_end_ms": end_ms}
        self._send(
            "conversation.item.truncated", **told, transcript=item.text
        )  # OpenAI's event does not say what is left

    # Answering

    async def _create_response(self, event: dict[str, Any]) -> None:
        given = event.get("response") or {}
        settings = of_response(self._conversation.settings, given)
        await self._check(settings)
        if self._turn is not None:
            if not self._history.unanswered():
                raise invalid("a response is in progress; cancel it, or say something first")
            await self._interrupt("turn_detected")
        self._answer(settings, given.get("metadata"))

    async def _cancel(self, event: dict[str, Any]) -> None:
        wanted = event.get("response_id") or self._response_id
        if self._turn is None and not self._sounds():
            raise invalid("no response is in progress")
        if wanted != self._response_id:
            raise invalid(f"response {wanted!r} is not in progress; it is {self._response_id!r}", "response_id")
        await self._interrupt("client_cancelled")

    async def _interrupt(self, reason: Reason) -> None:
        """End the turn in progress, if there is one, or what is still heard of the last one.

        Returns when its end has been told.
        """
        if reason == "turn_detected":
            self._waiting = False
        turn, running = self._turn, self._running
        if turn is None or running is None:
            self._stop_playing()
            return
        self._reason = reason
        await turn.stop()
        await asyncio.wait([running])  # to await it would cancel it with us

    def _sounds(self) -> bool:
        """Whether the last answer is all sent, and still heard."""
        return self._playing is not None and self._playing[1].heard(_now()) < self._playing[1].sent

    def _stop_playing(self) -> None:
        if self._playing is not None and self._sounds():
            item, playback = self._playing
            self._history.truncate(item, playback.heard(_now()))
        self._playing = None

    def _answer_waiting(self) -> None:
        if self._waiting and self._turn is None:
            self._waiting = False
            self._answer(self._conversation.settings)

    def _answer(self, settings: SessionSettings, metadata: Any = None) -> None:
        """Begin a turn with the settings of the session, or others for this once."""
        if self._services.desk.draining:
            raise EchodError("draining", "this daemon is shutting down; come back when it is up again")
        self._renew_role(settings)
        request, wanted = self._request(settings), settings.modality
        with ExitStack() as working:
            working.enter_context(self._services.accounts.at_work(self._conversation.account))
            item = Item(id=new_item_id(), author="assistant", spoken=wanted != "text", status="in_progress")
            previous = self._add(item)
            response = Response(self._send, item, wanted, self._conversation.id, self._addresses, metadata)
            self._response_id = response.id
            response.begin(previous)
            began = self._committed_at if request.heard or request.turn.sound else _now()
            self._turn = Turn(
                self._services.calls, self._services.desk, request, response.tell, self._services.scratch, began
            )
            # The turn is started here, so that it can be stopped from now on.
            run = self._run(self._turn, self._turn.start(), response, working.pop_all())
            self._running = asyncio.create_task(run)

    def _renew_role(self, settings: SessionSettings) -> None:
        """A role may have changed since the last turn; one that is gone goes on without its portrait."""
        if self._role is None:
            return
        latest = self._services.roles.latest(self._role)
        if latest is None and settings.modality == "video":
            raise EchodError("not_found", f"role {self._role.name!r} is gone, or broken; `echod roles list` tells more")
        self._role = latest or self._role

    def _request(self, settings: SessionSettings) -> TurnRequest:
        said = self._history.unanswered()
        if not said and any(item.author == "assistant" for item in self._history.items):
            raise invalid("there is nothing to answer: create an item or commit sound first")
        limit = self._services.config.history_tokens
        hearing = self._hearing.of(said)
        greeting = self._role.file.greeting if self._role and not said else ""
        turn = base.Question(
            text=question(said, limit) if said else OPENING,
            sound=self._hearing.sound_of(said) or None if self._omni else None,
            personality=self._personality(settings),
            history=self._history.messages(limit, said[0] if said else None),
        )
        return TurnRequest(
            account=self._conversation.account,
            turn=turn,
            heard=partial(self._all_heard, said, hearing) if hearing and not self._omni else None,
            words=greeting or None,
            modality=settings.modality,
            role=self._role,
            voice=settings.voice or (self._role.file.voice if self._role else None),
            language=self._language,
        )

    async def _all_heard(self, said: Sequence[Item], hearing: Sequence[asyncio.Task[str]]) -> str:
        """The words of everything that was said, once all of it is heard."""
        await asyncio.wait(hearing)  # which goes on if the answer is cancelled
        for each in hearing:
            if not each.cancelled():  # as it is with what the history has no place for any more
                each.result()
        return question(said, self._services.config.history_tokens)

    def _personality(self, settings: SessionSettings) -> str:
        style = SPOKEN_STYLE if settings.modality != "text" else ""
        language = f"Answer in this language: {self._language}." if self._language else ""
        own = self._role.file.personality if self._role else ""
        theirs = settings.instructions, *self._history.instructions()
        return "\n\n".join(filter(None, (own, *theirs, style, language)))

    async def _run(self, turn: Turn, task: asyncio.Task[None], response: Response, working: ExitStack) -> None:
        """See a turn to its end, and tell of it."""
        with working:
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
        self._turn = self._running = None
        response.end(status, turn.text, turn.timings, turn.error, self._reason if status == "cancelled" else None)
        self._services.metrics.turned(status, turn.timings)
        log.info("turn %s", status, extra={"account": self._conversation.account, **vars(turn.timings)})
        try:
            self._answer_waiting()
        except EchodError as error:
            self._send("error", error=body(error)["error"])

    def _remember(self, item: Item, turn: Turn, status: Status) -> None:
        item.text, item.parts = turn.text, turn.parts
        item.status = "completed" if status == "completed" else "incomplete"
        self._playing = (item, turn.playback) if item.spoken and status != "cancelled" else None
        if item.spoken and status == "cancelled":
            self._history.truncate(item, turn.playback.heard(_now()))
        item.answered = bool(item.text)
        if item.answered:
            self._hearing.answered(self._before(item))
        elif self._reason == "client_cancelled" and not self._left:
            self._hearing.forget(self._before(item))

    def _before(self, answer: Item) -> Sequence[Item]:
        items = self._history.items
        return items[: items.index(answer)] if answer in items else ()


def _now() -> float:
    return asyncio.get_running_loop().time()
