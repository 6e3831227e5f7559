"""What every speech backend does: three small async protocols, and how their calls fail.

    hear   pcm16, mono, HEAR_RATE in; a transcript out
    reply  text or such sound in, with personality, history and tools; text and calls of tools out, as they come
    speak  text in, as it comes; pcm16, mono, SPEAK_RATE out, as it comes

A backend makes one attempt and raises `Failure` and nothing else. It need not watch the clock: `attempts` does, and
ends an attempt by cancelling it at any await or closing it at any yield. The backend then lets go of everything at
once.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from echod.sound.pcm import HEAR_RATE, wav
from echod.speech.tools import CallPiece, Toolbox, ToolCall

Function: TypeAlias = Literal["hear", "reply", "speak"]
Kind: TypeAlias = Literal[
    "auth",  # the key is wrong, or missing
    "forbidden",  # the key is right and not enough
    "retired",  # there is no such model (any more)
    "voice",  # the model has no such voice
    "invalid",  # the request is refused as it is
    "moderated",  # its content is refused
    "throttled",  # too many requests at present
    "quota",  # what was paid for is used up
    "unavailable",  # the server's own fault
    "timeout",
    "connection",  # refused, broken off
    "protocol",  # an answer that makes no sense, or ends too early
    "length",  # a reply that may not go on: it has its most tokens, or all its time
    "missing",  # a local part that is not installed
]

PASSING: frozenset[Kind] = frozenset({"throttled", "unavailable", "timeout", "connection"})  # worth another attempt


class Failure(Exception):
    """An attempt failed: `reason` says how in our own words, `quote` in the server's. `message` is both, for people.

    `retry_after` is when the server says to come back, in seconds. `commands` put right what is missing.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        quote: str = "",
        *,
        retry_after: float | None = None,
        commands: Sequence[str] = (),
    ) -> None:
        self.message = f"{reason}: {quote}" if quote else reason
        super().__init__(self.message)
        self.kind = kind
        self.reason = reason
        self.retry_after = retry_after
        self.commands = tuple(commands)


class Voice(msgspec.Struct, frozen=True, order=True):
    """A TTS voice: backend, model and name are one unit, for a voice belongs to its model.

    Written `backend/model/name`; a model's name may have slashes in it.
    """

    backend: str
    model: str
    name: str

    def __str__(self) -> str:
        return f"{self.backend}/{self.model}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Voice:
        """ValueError if it is not in the form backend/model/name."""
        backend, _, rest = text.partition("/")
        model, _, name = rest.rpartition("/")
        if not (backend and model and name):
            raise ValueError(f"{text!r} is not in the form backend/model/name")
        return cls(backend, model, name)


class Message(msgspec.Struct, frozen=True):
    """One side's words in a conversation, and what a model called for; or what a tool gave, in answer to `call_id`."""

    author: Literal["user", "assistant", "tool"]
    text: str
    calls: Sequence[ToolCall] = ()
    call_id: str = ""

    def chat(self) -> dict[str, Any]:
        said: dict[str, Any] = {"role": self.author, "content": self.text}
        if self.calls:
            said["tool_calls"] = [call.chat() for call in self.calls]
        return {**said, "tool_call_id": self.call_id} if self.author == "tool" else said


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What to reply to: words, or the sound of them (pcm16, mono, HEAR_RATE); and who replies, after what history.

    A reply of `max_tokens` that is not at its end then is Failure("length"), behind what there is of it.
    """

    text: str | None = None
    sound: bytes | None = None
    personality: str = ""
    history: Sequence[Message] = ()
    max_tokens: int | None = None
    tools: Toolbox = Toolbox()

    @property
    def of_tools(self) -> bool:
        """Whether what tools gave is to be replied to, and nobody has said anything."""
        return not self.text and self.sound is None and bool(self.history) and self.history[-1].author == "tool"

    @property
    def words(self) -> list[str]:
        """All there are in it: what a server's errors must not repeat."""
        return [self.text or "", self.personality, *(message.text for message in self.history)]

    def messages(self, data_uri: str = "") -> list[dict[str, Any]]:
        """The conversation as chat completions have it, its sound behind what DashScope alone wants before base64."""
        messages = [message.chat() for message in self.history]
        if self.personality:
            messages.insert(0, {"role": "system", "content": self.personality})
        if self.of_tools:
            return messages
        if self.sound is None:
            return [*messages, {"role": "user", "content": self.text or ""}]
        audio = {"data": data_uri + b64encode(wav(self.sound, HEAR_RATE)).decode(), "format": "wav"}
        content: list[dict[str, Any]] = [{"type": "input_audio", "input_audio": audio}]
        if self.text:
            content.append({"type": "text", "text": self.text})
        return [*messages, {"role": "user", "content": content}]


@dataclass(kw_only=True)
class Call:
    """One attempt: what is asked for, and what the backend learns about it on the way."""

    model: str
    language: str | None = None  # a language tag such as en or zh-CN, where it is known
    request_id: str | None = None
    spoken: int = 0  # parts of the text that are spoken whole: the next attempt goes on after them
    usage: Mapping[str, float] = field(default_factory=dict)  # what the server counted: USAGE names
    alive: Callable[[], None] = lambda: None  # the server works on it: to be called for what gives nothing by itself


USAGE = ("input_tokens", "output_tokens", "characters", "seconds")


class Backend(Protocol):
    """A place that can hear, reply and speak."""

    name: str
    hears_turns: bool  # whether `reply` takes sound

    def calls_tools(self, model: str) -> bool:
        """Whether a model that replies knows what to do with tools. Loads nothing, calls nobody."""
        return True

    async def lacks(self, function: Function, name: str) -> Failure | None:
        """What has to be installed for this function first: Failure("missing"), for people without a shell here.

        `name` is the model's; to speak, that of a voice as people name it, or empty for any. Loads nothing, calls
        nobody. A server's lacks are its own.
        """
        return None

    async def languages(self) -> list[str] | None:
        """What its voices speak: tags such as en, zh, de. None where only its server knows. Calls nobody."""
        return None

    async def ready(self, function: Function, model: str) -> None:
        """Start and load what this function needs, which may take minutes. Failure("missing") says what to install."""
        return

    async def load(self, voice: Voice) -> None:
        """Have this voice ready to speak, if that takes time."""
        return

    async def hear(self, sound: bytes, call: Call) -> str: ...

    def reply(self, turn: Question, call: Call) -> AsyncGenerator[str | CallPiece, None]: ...

    def speak(self, text: AsyncIterator[str], voice: Voice, call: Call) -> AsyncGenerator[bytes, None]: ...

    def default_model(self, function: Literal["hear", "reply"]) -> str:
        """The model used where the settings name none."""

    async def default_voice(self, language: str | None) -> Voice:
        """The voice used where nobody names one. Failure("missing") where there is none at all. Calls nobody."""

    async def voices(self) -> list[Voice]:
        """The voices known by name; a server may have more."""

    async def doubt(self, voice: Voice, text: str) -> Failure | None:
        """Why the sound of that voice may be wrong, though speaking does not fail. May call its server once more."""
        return None

    async def close(self) -> None:
        """End what was started."""
