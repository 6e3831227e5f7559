"""What can be heard, replied and spoken here, or why not: looked at, nothing called and nothing loaded."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

import msgspec

from echod.speech.backend import Failure, Function
from echod.speech.calls import Calls, SpeechError
from echod.speech.errors import NOT_INSTALLED
from echod.speech.local.backend import SCRIPTED
from echod.speech.voices import default_voice


class Reason(msgspec.Struct, frozen=True):
    """Why something cannot be done: a code of the error table, words, and commands that put it right."""

    code: str
    message: str
    commands: list[str] = []


class Hears(msgspec.Struct, frozen=True, kw_only=True):
    """`by` is backend/model, None where there is none."""

    available: bool
    by: str | None
    reason: Reason | None


class Replies(Hears, frozen=True, kw_only=True):
    """`scripted`: it answers with the same words whatever is said."""

    scripted: bool


class Speaks(Hears, frozen=True, kw_only=True):
    """`languages` are tags such as en, zh, de, None where only the backend's server knows.

    `default_voice` is who speaks English, or words of any language where no voice for it is known.
    """

    languages: list[str] | None
    default_voice: str | None


async def hears(calls: Calls) -> Hears:
    """Where the model that replies takes sound itself, nothing else need hear."""
    omni = calls.settings.now.understanding == "omni" and calls.backend("reply").hears_turns
    by, reason = await _model(calls, "reply" if omni else "hear")
    return Hears(available=reason is None, by=by, reason=reason)


async def replies(calls: Calls) -> Replies:
    by, reason = await _model(calls, "reply")
    return Replies(available=reason is None, by=by, reason=reason, scripted=by == f"local/{SCRIPTED}")


async def speaks(calls: Calls) -> Speaks:
    backend = calls.backend("speak")
    if lack := await backend.lacks("speak", calls.settings.now.voice):
        reason = _reason("speak", lack)
        return Speaks(available=False, by=None, reason=reason, languages=[], default_voice=None)
    voice = await default_voice(calls)
    return Speaks(
        available=True,
        by=f"{voice.backend}/{voice.model}",
        reason=None,
        languages=await backend.languages(),
        default_voice=str(voice),
    )


async def _model(calls: Calls, function: Literal["hear", "reply"]) -> tuple[str | None, Reason | None]:
    """Who hears or replies, or why nobody does."""
    backend = calls.backend(function)
    try:
        model = calls.model(function)
    except SpeechError as error:
        return None, Reason(error.code, error.message)
    if lack := await backend.lacks(function, model):
        return None, _reason(function, lack)
    # A model of this box is a file, and where it lies is nobody's business.
    return f"{backend.name}/{PurePath(model).stem if backend.name == 'local' else model}", None


def _reason(function: Function, lack: Failure) -> Reason:
    return Reason(NOT_INSTALLED[function], lack.message, list(lack.commands))
