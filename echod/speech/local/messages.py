"""What the daemon and a child that holds speech models say to each other.

Both speak msgpack, each message behind its length, over the child's standard input and output. A request has a number;
every answer to it carries that number. Several requests may be under way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from echod.speech.backend import Kind

LENGTH = 4  # bytes, big-endian


class Hear(msgspec.Struct, frozen=True, tag=True):
    """pcm16, mono, HEAR_RATE, for the Whisper checkpoint at `model`. Without sound the model is only loaded."""

    model: Path
    sound: bytes | None = None
    language: str | None = None


class Reply(msgspec.Struct, frozen=True, tag=True):
    """A conversation for the chat model at `model`: a directory of transformers', or a GGUF file.

    `messages` are as chat completions have them; without any the model is only loaded. A very `small` one is helped to
    come to an end.
    """

    model: Path
    messages: list[dict[str, Any]] | None = None
    max_tokens: int = 1024
    tools: list[dict[str, Any]] | None = None
    small: bool = False


class Speak(msgspec.Struct, frozen=True, tag=True):
    """A sentence for the voice at `model`, a file that `engine` reads. Without a sentence the voice is only loaded."""

    model: Path
    engine: str
    sentence: str | None = None


Work: TypeAlias = Hear | Reply | Speak


class Request(msgspec.Struct, frozen=True):
    """Work under a number; without work, what has that number is not wanted any more."""

    number: int
    work: Work | None = None


class Piece(msgspec.Struct, frozen=True, tag=True):
    """More of what was heard, or of the reply."""

    text: str


class Sound(msgspec.Struct, frozen=True, tag=True):
    """More of the sentence: pcm16, mono, at the voice's own rate."""

    pcm: bytes


class Done(msgspec.Struct, frozen=True, tag=True):
    """The work ended well. `usage` has names of USAGE."""

    usage: dict[str, float] = {}


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The work ended in a Failure."""

    kind: Kind
    message: str


Said: TypeAlias = Piece | Sound | Done | Failed


class Answer(msgspec.Struct, frozen=True):
    """What the child says about a request."""

    number: int
    said: Said


_encoder = msgspec.msgpack.Encoder(enc_hook=str)  # msgspec knows no Path
request_decoder = msgspec.msgpack.Decoder(Request, dec_hook=lambda cls, value: cls(value))
answer_decoder = msgspec.msgpack.Decoder(Answer)


def framed(message: Request | Answer) -> bytes:
    """A message as it goes through a pipe."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH, "big") + body
