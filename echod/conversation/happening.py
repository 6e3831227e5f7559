"""What happens in a turn, told as it happens."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from echod.jobs.job import Job
from echod.speech.tools import ToolCall


class TextDelta(NamedTuple):
    """More of the reply's words."""

    delta: str


class SoundDelta(NamedTuple):
    """More of the reply's sound: pcm16, mono, SPEAK_RATE."""

    pcm: bytes


class ClipAdded(NamedTuple):
    """A sentence has become a job."""

    job: Job
    sentence: str


class ClipProgressed(NamedTuple):
    job: Job


class ClipDone(NamedTuple):
    """A clip is complete; told in the order of the sentences."""

    job: Job


class CallDelta(NamedTuple):
    """More of what the reply calls for: the call as far as it is known, and what is new of its arguments."""

    number: int
    call: ToolCall
    delta: str


class CallDone(NamedTuple):
    """A call is whole, for the reply is."""

    number: int


Happening: TypeAlias = TextDelta | SoundDelta | ClipAdded | ClipProgressed | ClipDone | CallDelta | CallDone
