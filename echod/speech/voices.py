"""Finding a voice: the one somebody names, in full or by its name alone, or the default."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from echod.errors import EchodError
from echod.speech.backend import Failure, Voice
from echod.speech.calls import Calls
from echod.speech.languages import spoken_language


async def list_voices(calls: Calls, backend: str | None = None) -> list[Voice]:
    """Every voice known by name, of that backend or of all; a server may have more, which are named in full."""
    asked = [each for name, each in calls.backends.items() if backend in (None, name)]
    found = await asyncio.gather(*(each.voices() for each in asked))
    named = [Voice.parse(voice) for voice in (calls.settings.now.voice, *calls.settings.now.voices) if voice]
    return list(dict.fromkeys([*named, *(voice for voices in found for voice in voices)]))


async def default_voice(calls: Calls, text: str = "", language: str | None = None) -> Voice:
    """The voice for words of nobody's choice. EchodError voice_not_installed, saying what to install or set."""
    if calls.settings.now.voice:
        return Voice.parse(calls.settings.now.voice)
    try:
        return await calls.backend("speak").default_voice(spoken_language(text, language))
    except Failure as failure:
        raise EchodError("voice_not_installed", failure.message, param="voice") from None


async def find_voice(calls: Calls, name: str | None, text: str = "", language: str | None = None) -> Voice:
    """The voice of that name, as backend/model/name or as the name alone where only one has it; the default for None.

    Raises EchodError: invalid_request, voice_not_installed.
    """
    if not name:
        return await default_voice(calls, text, language)
    named = _in_full(name)
    if named and named.backend != "local" and named.backend in calls.backends:
        return named  # its server knows more voices than we do, and need not be asked
    known = await list_voices(calls, named.backend if named else None)
    matching = [voice for voice in known if name in (str(voice), voice.name)]
    if len(matching) == 1:
        return matching[0]
    if len(matching) > 1:
        raise _unknown(name, f"{len(matching)} voices have that name: {', '.join(map(str, matching[:5]))}")
    for key, backend in calls.backends.items():
        meant = named is None or named.backend == key
        if meant and (lack := await backend.lacks("speak", name if known else "")):
            raise EchodError("voice_not_installed", f"voice = {name!r}: {lack.message}", param="voice")
    if named is None:
        raise _unknown(name, "`echod voices` lists those known by name; others are named as backend/model/name")
    if named.backend not in calls.backends:
        raise _unknown(name, f"the backends set up here are {', '.join(calls.backends)}")
    raise _unknown(name, "this box has no such voice; `echod voices` lists those it has")


async def load_voice(calls: Calls, name: str | None, language: str | None = None) -> None:
    """Have it ready before there are words. What is lacking is told when there are."""
    with suppress(EchodError, Failure):
        voice = await find_voice(calls, name, language=language)
        await calls.backends[voice.backend].load(voice)


def _in_full(name: str) -> Voice | None:
    try:
        return Voice.parse(name)
    except ValueError:
        return None


def _unknown(name: str, reason: str) -> EchodError:
    return EchodError("invalid_request", f"voice = {name!r}: {reason}", param="voice")
