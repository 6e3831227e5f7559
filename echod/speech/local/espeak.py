"""espeak-ng's voices: a hundred languages, by a program that is started for each text."""

from __future__ import annotations

import shutil

from echod.speech.backend import Voice
from echod.speech.local.programs import running
from echod.speech.local.voice import Found, LocalVoice, Program

ESPEAK = "espeak-ng"

# The voice of a language where that is not called like it, or where there are several.
NAMES = {"en": "en-us", "fr": "fr-fr", "zh": "cmn"}


async def espeak_voices() -> Found:
    path = shutil.which(ESPEAK)
    if path is None:
        return {}
    async with running(path, "--voices") as process:
        assert process.stdout
        table = (await process.stdout.read()).decode(errors="replace")
    voices: dict[Voice, LocalVoice] = {}
    for line in table.splitlines()[1:]:
        _, language, _, _, file, *_ = line.split()
        voice = Voice("local", ESPEAK, language)
        command = (path, "-b", "1", "-v", file, "--stdout")  # 1: UTF-8
        voices.setdefault(voice, LocalVoice(voice, language.lower(), Program(command, None)))
    return voices
