"""One turn of a conversation: hear -> reply -> speak -> show. Cancelling it runs through all four.

The reply is cut into sentences as it streams; each is spoken as soon as it is whole. Asked for sound, it goes out as it
comes; asked for video, a sentence's speech becomes a conversation job as soon as it is whole, and clips are told of in
order. What happens is told to `tell` as it happens; that must not wait.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from echod.conversation.happening import (
    CallDelta,
    CallDone,
    ClipAdded,
    ClipDone,
    ClipProgressed,
    Happening,
    SoundDelta,
    TextDelta,
)
from echod.conversation.history import Part, Playback, tokens
from echod.errors import EchodError, gone
from echod.host.directories import unstorable
from echod.inspection.facts import SpeechFacts
from echod.jobs.desk import Desk
from echod.jobs.job import CONVERSATION, Draft, Job, View
from echod.roles.role import Role
from echod.sound import flac
from echod.sound.flac import SpeechFile
from echod.sound.pcm import SPEAK_RATE
from echod.speech import backend as base
from echod.speech.backend import Voice
from echod.speech.calls import Calls, SpeechError
from echod.speech.languages import language_of
from echod.speech.sentences import Sentence, Sentences
from echod.speech.tools import CallPiece, ToolCall
from echod.speech.voices import find_voice

log = logging.getLogger("echod.conversation")

Modality: TypeAlias = Literal["text", "audio", "video"]

PIECE = 48_000  # bytes of sound told at once: a second

SPOKEN_STYLE = (
    "You are heard, not read: answer in a few short, plain sentences, as people talk. No markdown, no lists, no emoji."
)
APOLOGIES = {
    "en": "Sorry, something went wrong on my side. Please try again.",
    "zh": "抱歉，我这边出了点问题，请再试一次。",
}
UNHEARD = {"en": "Sorry, I did not catch that.", "zh": "抱歉，我没听清。"}
SECONDS_PER_TOKEN = 0.25  # about how long a voice takes, for sentences that it has not finished


@dataclass(kw_only=True)
class Timings:
    """Milliseconds from the beginning of the turn, None where it never came to that."""

    heard_ms: int | None = None
    reply_first_token_ms: int | None = None
    speak_first_audio_ms: int | None = None
    video_first_frame_ms: int | None = None
    total_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """What a turn is to do. `words` are said as they are, in place of a reply: a greeting.

    `heard` waits for the transcript of what was said; the words of `turn` are then those.
    """

    account: str
    turn: base.Question
    heard: Callable[[], Awaitable[str]] | None = None
    words: str | None = None
    modality: Modality = "audio"
    role: Role | None = None
    voice: str | None = None
    view: View | None = None
    language: str | None = None


@dataclass
class Turn:
    """Begin it once with `start`; end it early with `stop`.

    `parts` are the sentences so far, with their seconds, and `text` all the words: those of the reply, to which an
    apology for what went wrong does not belong.
    """

    calls: Calls
    desk: Desk
    request: TurnRequest
    tell: Callable[[Happening], None]
    scratch: Path  # a directory for speech on its way into a job
    began: float
    timings: Timings = field(default_factory=Timings)
    parts: list[Part] = field(default_factory=list)
    playback: Playback = field(default_factory=Playback)
    error: EchodError | None = None
    cut: bool = False  # the reply has no end, and its words stand
    text: str = ""
    apology: str = ""
    called: dict[int, ToolCall] = field(default_factory=dict)
    _voice: Voice | None = None
    _language: str | None = None  # that the voice was found for
    _mute: bool = False
    _playing: set[str] = field(default_factory=set)
    _sentences: asyncio.Queue[tuple[Sentence, bool] | None] = field(default_factory=asyncio.Queue)  # of the reply?
    _accepting: list[asyncio.Task[Job]] = field(default_factory=list)
    _clips: asyncio.Queue[Job | None] = field(default_factory=asyncio.Queue)
    _task: asyncio.Task[None] | None = None
    _stopped: bool = False

    def start(self) -> asyncio.Task[None]:
        """Begin; the task ends when the turn has ended, well or with `error` set."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)  # one that is stopped at once never runs
        return self._task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.timings.total_ms = self._elapsed()

    async def stop(self) -> None:
        """End it: reply and voice now, jobs in the queue now, running ones at their next checkpoint."""
        if self._task is not None:
            if not self._stopped:  # a second cancel would end `_cancel_jobs` half way
                self._stopped = self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reply())
                group.create_task(self._speak())
                group.create_task(self._show())
        except BaseException:
            await self._cancel_jobs()
            raise

    async def _cancel_jobs(self) -> None:
        for accepted in await asyncio.gather(*self._accepting, return_exceptions=True):
            if isinstance(accepted, Job):
                with gone():  # somebody has deleted it
                    await self.desk.cancel(accepted.id, None)

    # Reply

    async def _reply(self) -> None:
        cutter, broken = Sentences(), None
        try:
            async with aclosing(self._words()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, CallPiece):
                        self._call(piece)
                    else:
                        self.text += piece
                        self._say(piece, cutter.feed(piece))
            for number in self.called:
                self.tell(CallDone(number))
        except EchodError as error:
            broken = self._cut_short(error)
        self._say("", cutter.finish())
        if broken is not None:
            self._fail(broken)
            self.apology = self._apology()
            cutter = Sentences()
            self._say(self.apology, [*cutter.feed(self.apology), *cutter.finish()])
        self._sentences.put_nowait(None)

    def _call(self, piece: CallPiece) -> None:
        if self.timings.reply_first_token_ms is None:
            self.timings.reply_first_token_ms = self._elapsed()
        call = self.called.get(piece.number)
        if call is None:
            call = ToolCall(piece.id or f"call_{secrets.token_hex(10)}", piece.name)
        call = msgspec.structs.replace(call, arguments=call.arguments + piece.arguments)
        self.called[piece.number] = call
        self.tell(CallDelta(piece.number, call, piece.arguments))

    def _cut_short(self, error: EchodError) -> EchodError | None:
        """What went wrong, unless the reply is but longer than it may be."""
        if not isinstance(error, SpeechError) or error.kind != "length" or not (self.text.strip() or self.called):
            return error
        self.cut = True
        log.info("reply cut short: %s", error.reason, extra={"account": self.request.account})
        return None

    def _say(self, words: str, sentences: Sequence[Sentence]) -> None:
        if words:
            if self.timings.reply_first_token_ms is None:
                self.timings.reply_first_token_ms = self._elapsed()
            self.tell(TextDelta(words))
        for sentence in sentences:
            self._sentences.put_nowait((sentence, not self.apology))

    async def _words(self) -> AsyncGenerator[str | CallPiece, None]:
        request, turn = self.request, self.request.turn
        if request.words is not None:
            yield request.words
            return
        if request.heard is not None:
            text = await request.heard()
            self.timings.heard_ms = self._elapsed()
            turn = msgspec.structs.replace(turn, text=text)
        if not (turn.text or turn.sound or turn.of_tools):
            yield self._in_language(UNHEARD)
            return
        async with aclosing(self.calls.reply(turn, account=request.account, language=request.language)) as pieces:
            async for piece in pieces:
                yield piece

    def _apology(self) -> str:
        """Something honest."""
        words = self._in_language(APOLOGIES)
        return words if not self.text or self.text[-1].isspace() else f" {words}"

    def _in_language(self, words: Mapping[str, str]) -> str:
        """Our own words in the language of the conversation."""
        said = self.text or self.request.turn.text or self.request.turn.personality
        language = self.request.language or language_of(said) or "en"
        return words.get(language.partition("-")[0], words["en"])

    def _fail(self, error: EchodError) -> None:
        self.error = self.error or error
        reason = error.reason if isinstance(error, SpeechError) else error.message
        log.warning("turn failed: %s", reason, extra={"account": self.request.account, "code": error.code})

    # Speak

    async def _speak(self) -> None:
        while (said := await self._sentences.get()) is not None:
            sentence, of_reply = said
            if of_reply:
                self.parts.append(Part(sentence.text, SECONDS_PER_TOKEN * tokens(sentence.spoken)))
            seconds = 0.0
            if sentence.spoken and self.request.modality != "text" and not self._mute:
                try:
                    seconds = await self._sound(sentence)
                except EchodError as error:
                    self._fail(error)
                    self._mute = True  # the words still come
            if of_reply:
                self.parts[-1] = Part(sentence.text, seconds)
        self._clips.put_nowait(None)

    async def _sound(self, sentence: Sentence) -> float:
        """Speak a sentence, and send it on its way; returns its seconds."""
        voice = await self._voice_for(sentence.spoken)
        if self.request.modality == "audio":
            seconds = 0.0
            async for piece in self._spoken(sentence, voice):
                seconds += len(piece) / 2 / SPEAK_RATE
                self.playback.add(len(piece) / 2 / SPEAK_RATE, self._now())
                self.tell(SoundDelta(piece))
            return seconds
        return await self._clip(sentence, voice)

    async def _voice_for(self, words: str) -> Voice:
        """One voice for the whole reply; where that is nobody's choice, a Chinese one once there are Chinese words."""
        request, language = self.request, language_of(words)
        if self._voice is None or (not request.voice and language not in (None, self._language)):
            self._language = language
            self._voice = await find_voice(self.calls, request.voice, words, request.language)
        return self._voice

    async def _spoken(
        self, sentence: Sentence, voice: Voice, begin_again: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        request = self.request
        speech = self.calls.speak(
            sentence.spoken, voice, account=request.account, language=request.language, begin_again=begin_again
        )
        async with aclosing(speech) as pieces:
            async for piece in pieces:
                if self.timings.speak_first_audio_ms is None:
                    self.timings.speak_first_audio_ms = self._elapsed()
                for start in range(0, len(piece), PIECE):
                    yield piece[start : start + PIECE]

    # Show

    async def _clip(self, sentence: Sentence, voice: Voice) -> float:
        path = self.scratch / f"{secrets.token_hex(8)}.flac"
        try:
            speech = await self._written(sentence, voice, path)
            if speech is None:
                return 0.0
            job = await self._accept(sentence, voice, speech, path)
        except OSError as error:
            raise unstorable("the speech", error) from error
        finally:
            for left in (path, flac.part_of(path)):
                with suppress(OSError):  # on a disk that fails, the next start removes them
                    left.unlink()
        self.tell(ClipAdded(job, sentence.text))
        self._clips.put_nowait(job)
        return speech.seconds

    async def _written(self, sentence: Sentence, voice: Voice, path: Path) -> SpeechFacts | None:
        """Speak a sentence into a file; None if it has no sound."""
        with SpeechFile(path) as file:
            async for piece in self._spoken(sentence, voice, file.begin_again):
                file.write(piece)
        if file.seconds == 0.0:
            return None
        publishing = asyncio.create_task(asyncio.to_thread(flac.publish, path))
        try:
            return await asyncio.shield(publishing)
        finally:
            await asyncio.wait([publishing])  # a thread goes on when it is cancelled, and would leave the file behind

    async def _accept(self, sentence: Sentence, voice: Voice, speech: SpeechFacts, path: Path) -> Job:
        role = self.request.role
        assert role is not None
        options = role.clip_options
        draft = Draft(
            account=self.request.account,
            portrait=role.portrait,
            portrait_file=role.picture,
            speech=speech,
            speech_file=path,
            engine=role.file.engine,
            options=msgspec.structs.replace(options, view=self.request.view or options.view, live=True),
            prompt=sentence.spoken,
            spoken=True,
            voice=str(voice),
            priority=CONVERSATION,
        )
        # Shielded, so that a job accepted while the turn is stopped is known to `stop`.
        accepting = asyncio.create_task(self.desk.accept(draft))
        self._accepting.append(accepting)
        return await asyncio.shield(accepting)

    async def _show(self) -> None:
        """Tell of every clip until it is complete, one after the other."""
        while (job := await self._clips.get()) is not None:
            try:
                await self._watch(job)
            except EchodError as error:  # somebody has deleted it
                self._fail(error)

    async def _watch(self, job: Job) -> None:
        watcher = self.desk.feed.watch_job(await self.desk.find(job.id, None))
        try:
            async for event in watcher:
                self._look(event.job)
                if event.job.terminal:
                    return
        finally:
            watcher.close()

    def _look(self, job: Job) -> None:
        if job.streaming or job.status == "completed":
            self._playable(job)
        if job.status == "completed":
            self.tell(ClipDone(job))
        elif job.terminal:
            assert job.error is not None
            self._fail(EchodError(job.error.code, f"the clip of a sentence: {job.error.message}"))
        else:
            self.tell(ClipProgressed(job))

    def _playable(self, job: Job) -> None:
        if job.id in self._playing:
            return
        self._playing.add(job.id)
        assert job.speech is not None
        self.playback.add(job.speech.seconds, self._now())
        if self.timings.video_first_frame_ms is None:
            self.timings.video_first_frame_ms = self._elapsed()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _elapsed(self) -> int:
        return round(1000 * (self._now() - self.began))
