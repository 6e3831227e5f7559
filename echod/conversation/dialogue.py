"""Who may speak when: somebody listened to, answered and interrupted, whatever their client speaks.

A front takes in what a client sends, calls the dialogue, and is told by it as its observer. At most one turn is in
progress. What is said meanwhile interrupts it, or is answered after it; where turns are detected, by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from echod.conversation.ear import SECOND, Ear, SpeechStarted, SpeechStopped
from echod.conversation.happening import CallDelta, CallDone, Happening
from echod.conversation.history import Item, Playback, new_item_id
from echod.conversation.request import language, turn_request
from echod.conversation.store import Conversation, SessionSettings
from echod.conversation.transcripts import Transcripts
from echod.conversation.turn import Turn
from echod.errors import EchodError, invalid
from echod.jobs.desk import Desk
from echod.roles.role import Role
from echod.speech.calls import Calls
from echod.speech.voices import find_voice, load_voice

log = logging.getLogger("echod.conversation")

MIN_UTTERANCE_MS = 100

Outcome: TypeAlias = Literal["completed", "incomplete", "cancelled", "failed"]
Cause: TypeAlias = Literal["client_cancelled", "turn_detected"]  # of an interruption: nobody wants more, or they speak


class Observer(Protocol):
    """Is told what happens, in order; none of it may wait."""

    def speech_started(self, ms: int, item_id: str) -> None:
        """Somebody speaks, since `ms` of all the sound there was; it will become this item."""

    def speech_stopped(self, ms: int, item_id: str) -> None: ...

    def said(self, item: Item, previous: str | None) -> None:
        """What was said is an item now, behind `previous`."""

    def heard(self, item: Item, seconds: float, heard: str | EchodError) -> None:
        """The words of an item, or why there are none."""

    def answering(self, item: Item, previous: str | None, settings: SessionSettings, metadata: Any) -> None:
        """A turn begins by these settings, and `item` is its answer; `metadata` is what `Dialogue.answer` was given."""

    def calling(self, item: Item, previous: str | None) -> None:
        """The turn calls for a function, and `item` is that call; its arguments follow."""

    def called(self, item: Item, delta: str | None) -> None:
        """More of a call's arguments; None: it is whole."""

    def happened(self, happening: Happening) -> None:
        """In the turn that has begun."""

    def answered(self, turn: Turn, outcome: Outcome, cause: Cause | None) -> None:
        """The turn has ended; `cause` is why it was cancelled."""

    def refused(self, error: EchodError) -> None:
        """What was said cannot be answered."""


@dataclass
class Dialogue:
    """A conversation while somebody is connected to it. Raises EchodError for what cannot be done."""

    conversation: Conversation
    role: Role | None
    observer: Observer
    calls: Calls
    desk: Desk
    scratch: Path
    latest: Callable[[Role], Role | None]  # what has become of a role, None if it is gone
    at_work: Callable[[], AbstractContextManager[None]]  # entered while something is made for the account
    _utterance: str = field(default_factory=new_item_id)  # of the item that what is being said will become
    _committed_at: float = 0.0
    _turn: Turn | None = None
    _running: asyncio.Task[None] | None = None  # it, to its end
    _cause: Cause = "client_cancelled"
    _waiting: bool = False  # what was said meanwhile is to be answered after the turn in progress
    _left: bool = False
    _call_items: dict[int, Item] = field(default_factory=dict)  # of the turn, by their numbers
    _playing: tuple[Item, Playback] | None = None  # the last answer, which may still be heard

    def __post_init__(self) -> None:
        self._ear = Ear(self.conversation.settings.detection)
        self._history = self.conversation.history
        self._hearing = self.conversation.hearing or Transcripts(self.calls, self.conversation.account, self.at_work)
        self.conversation.hearing = self._hearing
        self._hearing.come(self.observer.heard)
        self._preparing = asyncio.create_task(self._prepare())

    async def _prepare(self) -> None:
        """Models that are on this box are loaded while the person still thinks of what to say."""
        heard: tuple[Literal["hear"], ...] = () if self._omni else ("hear",)
        wanted = self.conversation.settings.voice or (self.role.file.voice if self.role else None)
        await asyncio.gather(
            load_voice(self.calls, wanted, language(self.conversation, self.role)),
            self.calls.prepare("reply"),
            self.calls.prepare(*heard),
        )

    async def close(self) -> None:
        self._preparing.cancel()
        """Stop the turn, and whatever is still being heard; who comes back is heard again."""
        self._waiting, self._left = False, True
        await self.interrupt("client_cancelled")
        await self._hearing.leave(self.observer.heard)
        self._ear.close()

    async def change(self, settings: SessionSettings) -> None:
        """From now on go by these settings."""
        await self._check(settings)
        before, self.conversation.settings = self.conversation.settings, settings
        if settings.detection != before.detection:
            self._ear.detect(settings.detection)

    async def _check(self, settings: SessionSettings) -> None:
        if settings.modality == "video" and self.role is None:
            raise invalid("video needs the portrait of a role: connect with ?model=role:<name>", "output_modalities")
        if settings.voice not in (None, self.conversation.settings.voice):
            await find_voice(self.calls, settings.voice)

    # Listening

    async def listen(self, sound: bytes) -> None:
        """Take in what the microphone hears: pcm16, mono, INPUT_RATE."""
        limit = self.desk.settings.now.max_utterance
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
            self.observer.speech_started(self._ear.now_ms, self._utterance)
        else:
            self._ear.clear()
            raise invalid(
                f"an utterance may last max_utterance = {limit:g} s; what was said is dropped: commit sooner", "audio"
            )

    async def _notice(self, noticed: SpeechStarted | SpeechStopped) -> None:
        detection = self.conversation.settings.detection
        match noticed:
            case SpeechStarted(ms=ms):
                self.observer.speech_started(ms, self._utterance)
                if detection is not None and detection.interrupt_response:
                    await self.interrupt("turn_detected")
            case SpeechStopped() as stopped:
                self._stopped(stopped)
                if detection is not None and detection.create_response and self.conversation.settings.answers:
                    self._waiting = True
                    self._answer_waiting()

    def _stopped(self, stopped: SpeechStopped) -> None:
        self.observer.speech_stopped(stopped.ms, self._utterance)
        self._take(stopped.sound)

    async def commit(self) -> None:
        """What was listened to since the last time is an utterance."""
        if self._ear.kept_ms < MIN_UTTERANCE_MS:
            raise EchodError(
                "input_audio_buffer_commit_empty",
                f"the buffer holds {self._ear.kept_ms} ms of sound, and at least {MIN_UTTERANCE_MS} are needed: append "
                "more before committing; where turns are detected, speech alone is kept, and committed by itself",
            )
        await self.interrupt("turn_detected")
        self._take(self._ear.take())

    def clear(self) -> None:
        """What was listened to since the last time is nothing."""
        self._ear.clear()

    def _take(self, sound: bytes) -> None:
        """What was said becomes an item, and is heard."""
        item = Item(id=self._utterance, author="user", spoken=True)
        self._utterance = new_item_id()
        self._committed_at = _now()
        self.observer.said(item, self.add(item))
        if self._omni:
            self._hearing.keep(item, sound, self.desk.settings.now.max_utterance)
        if self.conversation.settings.transcribe or not self._omni:
            self._hearing.begin(item, sound, language(self.conversation, self.role))

    @property
    def _omni(self) -> bool:
        """Whether sound goes to the model that replies. One that takes words only is given what was heard."""
        return self.desk.settings.now.understanding == "omni" and self.calls.backend("reply").hears_turns

    # Remembering

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put an item behind another, or at the end; the id of the one before it. ValueError if `after` is not here."""
        previous = self._history.add(item, after)
        self._hearing.forget(self._history.trim(self.desk.settings.now.history_tokens))
        return previous

    async def truncate(self, item: Item, seconds: float) -> None:
        """Of an answer only so much was heard."""
        if item.status == "in_progress":  # who stops listening wants no more of it
            await self.interrupt("client_cancelled")
        self._playing = None  # the client knows better
        self._history.truncate(item, seconds)

    async def delete(self, item: Item) -> None:
        """This was not said."""
        if item.status == "in_progress":  # nor is the rest of it wanted
            await self.interrupt("client_cancelled")
        if self._playing is not None and self._playing[0] is item:
            self._playing = None
        self._history.remove(item)
        self._hearing.forget([item])

    def _remember(self, item: Item, turn: Turn, outcome: Outcome) -> None:
        item.text, item.parts = turn.text, turn.parts
        item.status = "completed" if outcome == "completed" else "incomplete"
        self._playing = (item, turn.playback) if item.spoken and outcome != "cancelled" else None
        if item.spoken and outcome == "cancelled":
            self._history.truncate(item, turn.playback.heard(_now()))
        for call in self._call_items.values():
            if call.status == "in_progress":  # and will never be whole
                call.status = "incomplete"
        called = any(call.answered for call in self._call_items.values())
        item.answered = bool(item.text)
        if item.answered or called:
            self._hearing.answered(self._before(item))
            if not item.answered and item in self._history.items:  # it called for something, and said nothing
                self._history.remove(item)
        elif outcome == "failed" or (self._cause == "client_cancelled" and not self._left):
            self._hearing.forget(self._before(item))

    def _before(self, answer: Item) -> Sequence[Item]:
        items = self._history.items
        return items[: items.index(answer)] if answer in items else ()

    # Interrupting

    @property
    def speaking(self) -> bool:
        """Whether a turn is in progress, or the last answer is still heard."""
        return self._turn is not None or self._sounds()

    async def interrupt(self, cause: Cause) -> None:
        """End the turn in progress, if there is one, or what is still heard of the last one.

        Returns when its end has been told.
        """
        if cause == "turn_detected":
            self._waiting = False
        turn, running = self._turn, self._running
        if turn is None or running is None:
            self._stop_playing()
            return
        self._cause = cause
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

    # Answering

    async def answer(self, settings: SessionSettings, metadata: Any = None) -> None:
        """Begin a turn, with settings that hold for this once."""
        if not settings.answers:
            raise invalid("this session hears and does not answer: connect without intent=transcription")
        await self._check(settings)
        if self._turn is not None:
            if not self._history.unanswered():
                raise EchodError(
                    "conversation_already_has_active_response",
                    "a response is in progress; cancel it, or say something first",
                )
            await self.interrupt("turn_detected")
        self._answer(settings, metadata)

    def _answer_waiting(self) -> None:
        if self._waiting and self._turn is None:
            self._waiting = False
            self._answer(self.conversation.settings)

    def _answer(self, settings: SessionSettings, metadata: Any = None) -> None:
        if self.desk.draining:
            raise EchodError("draining", "this daemon is shutting down; come back when it is up again")
        self._renew_role(settings)
        config, wanted = self.desk.settings.now, settings.modality
        request = turn_request(
            self.conversation, self.role, settings, self._hearing, omni=self._omni, limit=config.history_tokens
        )
        with ExitStack() as working:
            working.enter_context(self.at_work())
            item = Item(id=new_item_id(), author="assistant", spoken=wanted != "text", status="in_progress")
            self._call_items = {}
            self.observer.answering(item, self.add(item), settings, metadata)
            began = self._committed_at if request.heard or request.turn.sound else _now()
            turn = Turn(self.calls, self.desk, request, self._happened, self.scratch, began)
            # The turn is started here, so that it can be stopped from now on.
            self._turn, task = turn, turn.start()
            self._running = asyncio.create_task(self._run(turn, task, item, working.pop_all()))

    def _happened(self, happening: Happening) -> None:
        match happening:
            case CallDelta(number=number, call=call, delta=delta):
                if (item := self._call_items.get(number)) is None:
                    item = Item(new_item_id(), "assistant", status="in_progress", answered=False)
                    item.name, item.call_id = call.name, call.id
                    self._call_items[number] = item
                    self.observer.calling(item, self.add(item))
                item.text = call.arguments
                self.observer.called(item, delta)
            case CallDone(number=number):
                item = self._call_items[number]
                item.status, item.answered = "completed", True
                self.observer.called(item, None)
            case _:
                self.observer.happened(happening)

    def _renew_role(self, settings: SessionSettings) -> None:
        """A role may have changed since the last turn; one that is gone goes on without its portrait."""
        if self.role is None:
            return
        latest = self.latest(self.role)
        if latest is None and settings.modality == "video":
            raise EchodError("not_found", f"role {self.role.name!r} is gone, or broken; `echod roles list` tells more")
        self.role = latest or self.role

    async def _run(self, turn: Turn, task: asyncio.Task[None], item: Item, working: ExitStack) -> None:
        """See a turn to its end, and tell of it."""
        with working:
            await asyncio.wait([task])
        if not task.cancelled() and (broken := task.exception()):
            log.error("a turn broke", exc_info=broken)
            turn.error = EchodError("internal", "something failed inside the daemon; its log says what")
        outcome = _outcome(turn, task)
        self._remember(item, turn, outcome)
        self._turn = self._running = None
        self.observer.answered(turn, outcome, self._cause if outcome == "cancelled" else None)
        log.info("turn %s", outcome, extra={"account": self.conversation.account, **vars(turn.timings)})
        try:
            self._answer_waiting()
        except EchodError as error:
            self.observer.refused(error)


def _outcome(turn: Turn, task: asyncio.Task[None]) -> Outcome:
    if task.cancelled():
        return "cancelled"
    return "failed" if turn.error else "incomplete" if turn.cut else "completed"


def _now() -> float:
    return asyncio.get_running_loop().time()
