"""What the daemon and its inspection children say to each other: JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from echod.inspection.facts import PortraitFacts, SpeechFacts

Kind: TypeAlias = Literal["portrait", "speech"]
Want: TypeAlias = Literal["portrait", "speech", "any"]

UNREADABLE = {"portrait": "portrait_unreadable", "speech": "speech_unreadable", "any": "unsupported_media"}
PREPARED: dict[str, str] = {"portrait": "portrait.png", "speech": "speech.flac"}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Inspect `path`; write what workers read into the directory `into`: at most `most` bytes, `spare` stay free."""

    path: Path
    into: Path
    want: Want
    max_seconds: float
    max_pixels: int
    most: int | None
    spare: int


class Inspected(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A file that workers can use: `prepared` is portrait.png or speech.flac; sha256 is that of the client's bytes."""

    kind: Kind
    prepared: Path
    portrait: PortraitFacts | None = None
    speech: SpeechFacts | None = None


class Refused(msgspec.Struct, frozen=True, tag=True):
    """A file that cannot be used, and why."""

    code: str
    message: str


class NoPicture(msgspec.Struct, frozen=True, tag=True):
    """A file for which those who know recordings should be asked."""


Finding: TypeAlias = Inspected | Refused | NoPicture

encoder = msgspec.json.Encoder(enc_hook=str)  # msgspec knows no Path
request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request, dec_hook=lambda cls, value: cls(value))
reply_decoder: msgspec.json.Decoder[Finding] = msgspec.json.Decoder(Finding, dec_hook=lambda cls, value: cls(value))
