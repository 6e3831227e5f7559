"""Trying out speech: one call to whoever speaks, hears and replies, and how it went."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import aclosing
from typing import NamedTuple

from echod.config import Config, Settings
from echod.errors import EchodError
from echod.sound.pcm import HEAR_RATE, SPEAK_RATE
from echod.sound.resample import Resampler
from echod.speech.backend import Function, Question
from echod.speech.calls import Calls, SpeechError
from echod.speech.plan import open_calls
from echod.speech.usage import Usage
from echod.speech.voices import default_voice

SENTENCE = "Good evening, can you hear me?"
SILENCE = bytes(2 * HEAR_RATE)  # a second of it, to be heard where nothing could speak
ACCOUNT = "doctor"


class Trial(NamedTuple):
    """How one function did: what came of it and after how long, or why nothing did."""

    function: Function
    ok: bool
    finding: str


async def try_speech(config: Config) -> list[Trial]:
    """A sentence spoken, heard and replied to, with what is configured. Raises ConfigurationError."""
    records: list[Usage] = []
    async with open_calls(Settings(config), record=records.append) as calls:
        sound = bytearray()
        spoken = await _trial("speak", _speak(calls, sound), records)
        heard = await _trial("hear", _hear(calls, bytes(sound) or SILENCE), records)
        return [spoken, heard, await _trial("reply", _reply(calls), records)]


async def _trial(function: Function, call: Awaitable[str], records: list[Usage]) -> Trial:
    try:
        outcome = await call
    except EchodError as error:
        return Trial(function, False, error.message)
    first, total = records[-1].first_ms, records[-1].total_ms
    if first in (None, total):
        return Trial(function, True, f"{outcome}; after {total} ms")
    return Trial(function, True, f"{outcome}; first after {first} ms, all after {total} ms")


async def _speak(calls: Calls, sound: bytearray) -> str:
    voice = await default_voice(calls, SENTENCE)
    resampler = Resampler(SPEAK_RATE, HEAR_RATE)
    async with aclosing(calls.speak(SENTENCE, voice, account=ACCOUNT)) as pieces:
        async for piece in pieces:
            sound += resampler.feed(piece)
    sound += resampler.flush()
    if doubt := await calls.backends[voice.backend].doubt(voice, SENTENCE):
        raise EchodError("upstream_tts", f"{voice} sounds wrong: {doubt.message}")
    return f"{voice} spoke for {len(sound) / 2 / HEAR_RATE:.1f} s"


async def _hear(calls: Calls, sound: bytes) -> str:
    heard = await calls.hear(sound, account=ACCOUNT, language="en")
    return f"{calls.backend('hear').name}/{calls.model('hear')} heard {heard!r}"


async def _reply(calls: Calls) -> str:
    said = ""
    try:
        async with aclosing(calls.reply(Question(text=SENTENCE), account=ACCOUNT, language="en")) as pieces:
            async for piece in pieces:
                said += piece if isinstance(piece, str) else ""
    except SpeechError as error:
        if error.kind != "length" or not said:
            raise
    return f"{calls.backend('reply').name}/{calls.model('reply')} replied with {len(said.split())} words"
