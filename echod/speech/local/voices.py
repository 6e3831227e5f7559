"""The voices of this box: hibari's, piper's, espeak-ng's.

Those that are models stay loaded in a child of their own and are given one sentence at a time; a program is started for
each text, ahead of it where that takes long.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from signal import SIGKILL

from echod.host.service import as_this_account
from echod.sound.resample import Resampler
from echod.speech.backend import Call, Failure, Voice
from echod.speech.local import programs as local_programs
from echod.speech.local.ahead import Ahead
from echod.speech.local.espeak import ESPEAK, NAMES, espeak_voices
from echod.speech.local.hibari import HEART, HIBARI, hibari_names, hibari_voices
from echod.speech.local.messages import Speak
from echod.speech.local.models import Models
from echod.speech.local.piper import CONFIG, PIPER, has_piper, piper_voices
from echod.speech.local.voice import Found, Loaded, LocalVoice, Program
from echod.speech.sentences import lines

INSTALL = {
    HIBARI: "pip install 'hibari-tts<0.3'",
    ESPEAK: "apt install espeak-ng",
    PIPER: "pip install piper-tts",
}
PULL = "echod weights pull voice:{}"
TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*", re.IGNORECASE)  # of a language, which espeak-ng's voices are called by


class Voices:
    """What can speak here. `directory` is where piper's voices are put, and hibari's further ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._models = Models(threads=1)
        self._ahead = Ahead()
        self._espeak: Found = {}

    async def find(self) -> Found:
        """All there are at present, in the order in which they are preferred."""
        if not self._espeak:
            self._espeak = await espeak_voices()
        return {**hibari_voices(self.directory), **piper_voices(self.directory), **self._espeak}

    async def languages(self) -> list[str]:
        """What is spoken here, as primary language tags."""
        primary = {local.language.split("-")[0] for local in (await self.find()).values()}
        return sorted("zh" if tag == NAMES["zh"] else tag for tag in primary)

    async def lacks(self, name: str) -> Failure | None:
        """What to install for a voice, named in full or by its name alone; empty: for any at all."""
        if not name:
            return None if await self.find() else _none()
        model, _, own = name.removeprefix("local/").rpartition("/")
        if not model:
            model = ESPEAK if TAG.fullmatch(own) else HIBARI if own in (HEART, *hibari_names()) else ""
        there = {HIBARI: bool(hibari_names()), PIPER: has_piper(), ESPEAK: shutil.which(ESPEAK) is not None}
        if not there.get(model, True):
            return _lacking(f"{model} is not installed", INSTALL[model])
        pulled = (Voice("local", HIBARI, own) in await self.find()) or own not in hibari_names()
        return (
            None
            if model != HIBARI or pulled
            else _lacking(f"{own} has not been fetched", as_this_account(PULL.format(own)))
        )

    async def default(self, language: str | None) -> Voice:
        """The first that speaks the language. Failure: missing, where another could be installed that does.

        Where none is told it is English, or whatever there is; and English where nobody here speaks it.
        """
        found = await self.find()
        if not found:
            raise _none()
        if best := _best(found, (language or "en").lower()):
            return best
        if language and shutil.which(ESPEAK) is None:
            raise _lacking(f"no voice here speaks {language}", INSTALL[ESPEAK])
        return _best(found, "en") or next(iter(found))

    async def speak(self, text: AsyncIterator[str], voice: Voice, call: Call) -> AsyncGenerator[bytes, None]:
        """pcm16, mono, SPEAK_RATE. Failure: voice, missing, unavailable."""
        found = await self.find()
        if voice not in found:
            lack = await self.lacks(str(voice))
            raise lack or Failure("voice", f"{voice} is none of the {len(found)} voices of this box")
        match found[voice].speaker:
            case Program() as program:
                pieces = self._by_program(text, voice.model, program)
            case Loaded() as loaded:
                pieces = self._by_sentence(text, voice.model, loaded, call)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def load(self, voice: Voice) -> None:
        """Load it, where that takes time. Failure: missing, unavailable, timeout."""
        local = (await self.find()).get(voice)
        match local and local.speaker:
            case Loaded() as loaded:
                await self._models.load(Speak(loaded.model, voice.model))
            case Program(slow=True) as program:
                self._ahead.start(program.command)

    async def close(self) -> None:
        await self._models.close()
        await self._ahead.close()

    async def _by_program(self, text: AsyncIterator[str], engine: str, program: Program) -> AsyncGenerator[bytes, None]:
        process = await self._ahead.take(program.command)
        try:
            async with aclosing(local_programs.speak(text, process, program.rate, engine)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            if program.slow and process.returncode in (0, -SIGKILL):  # well, or because nobody wanted more
                self._ahead.start(program.command)

    async def _by_sentence(
        self, text: AsyncIterator[str], engine: str, loaded: Loaded, call: Call
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(lines(text, skip=call.spoken)) as sentences:
            async for sentence in sentences:
                resampler = Resampler(loaded.rate)
                async with aclosing(self._models.ask(Speak(loaded.model, engine, sentence), call)) as sound:
                    async for piece in sound:
                        yield resampler.feed(piece)
                if rest := resampler.flush():
                    yield rest
                call.spoken += 1


def _none() -> Failure:
    return Failure(
        "missing",
        f"no voice is installed: run `{INSTALL[HIBARI]}` for English, `{INSTALL[ESPEAK]}` for a hundred languages; or "
        f"`{INSTALL[PIPER]}`, and put a voice of piper's, NAME.onnx with NAME{CONFIG}, into voices/ of the weights "
        "directory; or set DASHSCOPE_API_KEY, or openai_url",
        commands=[INSTALL[HIBARI], INSTALL[ESPEAK]],
    )


def _lacking(what: str, command: str) -> Failure:
    return Failure("missing", f"{what}: run `{command}`", commands=[command])


def _best(found: Found, language: str) -> Voice | None:
    """The preferred engine's voice of that language: of that very tag, else of its primary language."""
    primary = language.split("-")[0]
    for engine in (HIBARI, PIPER, ESPEAK):
        speaking = [each for each in found.values() if each.voice.model == engine and _speaks(each, primary)]
        for tag in (language, NAMES.get(primary, primary)):
            for local in speaking:
                if local.language == tag:
                    return local.voice
        if speaking:
            return speaking[0].voice
    return None


def _speaks(local: LocalVoice, primary: str) -> bool:
    return local.language.split("-")[0] in (primary, NAMES.get(primary, primary))
