"""hibari's voices, which stay loaded in a child of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from echod.config import Config, Settings
from echod.sound.pcm import SPEAK_RATE
from echod.speech.backend import Call, Failure, Voice
from echod.speech.calls import Calls
from echod.speech.local.backend import Local
from echod.speech.local.hibari import HEART, hibari_names, hibari_voices
from echod.speech.local.voice import Loaded
from echod.speech.local.voices import Voices
from tests.drivers.leaks import HANG, nothing_left

pytestmark = pytest.mark.skipif(not hibari_names(), reason="hibari-tts is not installed: pip install '.[voice]'")

HEART_VOICE = Voice("local", "hibari", HEART)
EMMA = Voice("local", "hibari", "emma")
EMMA_FILE = "bf_emma.int8.onnx"
MORNING = "Good morning. "


@pytest.fixture
async def voices(tmp_path: Path) -> AsyncIterator[Voices]:
    voices = Voices(tmp_path / "voices")
    yield voices
    await voices.close()


async def once(*pieces: str) -> AsyncGenerator[str, None]:
    for piece in pieces:
        yield piece


def speak(voices: Voices, text: AsyncIterator[str], voice: Voice = HEART_VOICE) -> AsyncGenerator[bytes, None]:
    return voices.speak(text, voice, Call(model=voice.model))


async def spoken(voices: Voices, text: str, voice: Voice = HEART_VOICE) -> bytes:
    async with aclosing(speak(voices, once(text), voice)) as pieces:
        return b"".join([piece async for piece in pieces])


def heart_file() -> Path:
    speaker = hibari_voices(Path())[HEART_VOICE].speaker
    assert isinstance(speaker, Loaded)
    return speaker.model


def pid(voices: Voices) -> int:
    assert voices._models.pid
    return voices._models.pid


async def test_stays_loaded(voices: Voices, monkeypatch: pytest.MonkeyPatch) -> None:
    """One child speaks text after text, the same words always the same, and has none of the daemon's keys."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-planted")
    sound = await spoken(voices, 3 * MORNING)
    assert len(sound) > 2 * SPEAK_RATE
    child = pid(voices)
    assert await spoken(voices, 3 * MORNING) == sound
    assert len(await spoken(voices, 9 * MORNING)) == 3 * len(sound)
    assert pid(voices) == child
    environment = Path(f"/proc/{child}/environ").read_bytes()
    assert b"planted" not in environment
    assert b"HF_HUB_OFFLINE=1" in environment


async def test_pieces(voices: Voices) -> None:
    """Sound comes in whole samples, in pieces of a size that fits a message, and no sample is out of range."""
    pieces = [piece async for piece in speak(voices, once("A long sentence, " * 10))]
    assert all(piece and len(piece) % 2 == 0 and len(piece) <= 2**16 for piece in pieces)
    assert len(pieces) > 3


async def test_speaks_before_the_text_ends(voices: Voices) -> None:
    """The first sentence is heard while the second is still being written."""
    heard = asyncio.Event()

    async def text() -> AsyncGenerator[str, None]:
        yield MORNING
        await heard.wait()
        yield "How are you?"

    sound = b""
    async with asyncio.timeout(HANG), aclosing(speak(voices, text())) as pieces:
        async for piece in pieces:
            heard.set()
            sound += piece
    assert len(sound) > len(await spoken(voices, MORNING))


@pytest.mark.parametrize("text", ["", " \n ", "\x00\x1b", "...", "👍"])
async def test_nothing_to_say(voices: Voices, text: str) -> None:
    """Without words there is no sound, and no child is asked."""
    assert await spoken(voices, text) == b""
    assert voices._models.pid is None


async def test_strange_text(voices: Voices) -> None:
    """Whatever people type is text: it is read, or there is nothing to say to it; nothing fails."""
    strange = [
        "two\nlines",
        "a\x00b",
        "\ud800 lone",
        "-v de",
        "/etc/passwd",
        "👍 yes",
        "x" * 2_000,
        "Grüße",
        "1" * 99,
        "①S",
    ]
    for text in strange:
        assert len(await spoken(voices, text)) > 0, text
    assert await spoken(voices, "你好") == b""


async def test_default(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hibari speaks English, and nothing else: what would speak other languages is named where it is missing."""
    for language in (None, "en", "en-US", "en-GB"):
        assert await voices.default(language) == HEART_VOICE
    monkeypatch.setenv("PATH", str(tmp_path))
    english = Voices(voices.directory)
    assert await english.languages() == ["en"]
    for language in ("zh-CN", "de"):
        with pytest.raises(Failure, match=f"no voice here speaks {language}: run `apt install espeak-ng`") as failure:
            await english.default(language)
        assert failure.value.kind == "missing"


async def test_further_voices(voices: Voices) -> None:
    """One that has not been fetched is never fetched unasked: the command is named. Once its file is here it speaks."""
    assert EMMA not in await voices.find()
    for asked in (voices.lacks("emma"), voices.lacks(str(EMMA))):
        lack = await asked
        assert lack and lack.commands == ("echod weights pull voice:emma",)
    with pytest.raises(Failure, match="echod weights pull voice:emma") as failure:
        await spoken(voices, MORNING, EMMA)
    assert failure.value.kind == "missing"
    assert voices._models.pid is None

    voices.directory.mkdir()
    shutil.copy(heart_file(), voices.directory / EMMA_FILE)
    assert await voices.lacks("emma") is None
    assert await voices.default("en-GB") == EMMA
    assert await voices.default("en") == HEART_VOICE
    assert len(await spoken(voices, MORNING, EMMA)) > SPEAK_RATE


async def test_broken_file(voices: Voices) -> None:
    """A file that is no voice is named; the child goes on with those that are."""
    voices.directory.mkdir()
    (voices.directory / EMMA_FILE).write_bytes(b"not a model")
    with pytest.raises(Failure, match=f"{EMMA_FILE} is no voice that hibari can read") as failure:
        await spoken(voices, MORNING, EMMA)
    assert failure.value.kind == "missing"
    assert await spoken(voices, MORNING)


async def test_not_installed(voices: Voices, no_hibari: None) -> None:
    """Without the package its voices are none, and its name gets the command that brings it."""
    assert all(voice.model != "hibari" for voice in await voices.find())
    for name in (HEART, "local/hibari/emma"):
        lack = await voices.lacks(name)
        assert lack and lack.commands == ("pip install 'hibari-tts<0.3'",)


async def test_child_killed(tmp_path: Path, config: Config) -> None:
    """When the child is killed between two sentences, a call goes on with the second one in a new child."""
    local = Local(tmp_path)
    calls = Calls(Settings(config), {"local": local}, {"speak": "local"})
    try:
        whole = await spoken(local._voices, 2 * MORNING)
        first = pid(local._voices)

        async def text() -> AsyncGenerator[str, None]:
            yield MORNING
            os.kill(first, signal.SIGKILL)  # the next sentence is asked for once the first is spoken
            yield MORNING

        async with asyncio.timeout(HANG), aclosing(calls.speak(text(), HEART_VOICE, account="anna")) as pieces:
            assert b"".join([piece async for piece in pieces]) == whole
        assert pid(local._voices) != first
    finally:
        await local.close()


@pytest.mark.parametrize(
    "stage", ["before the text", pytest.param("in the text", marks=pytest.mark.long), "in the sound"]
)
async def test_cancelled(voices: Voices, stage: str) -> None:
    """A hundred calls cancelled at each stage leave nothing behind, and the child as it was."""
    await spoken(voices, MORNING)
    child = pid(voices)
    async with nothing_left():
        for _ in range(100):
            reached = asyncio.Event()
            speaking = asyncio.create_task(speak_until(voices, stage, reached))
            await reached.wait()
            speaking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await speaking
    async with asyncio.timeout(HANG):  # what nobody wants is not spoken to its end
        await spoken(voices, MORNING)
    assert pid(voices) == child


async def speak_until(voices: Voices, stage: str, reached: asyncio.Event) -> None:
    """Speak, and stop at this stage for ever."""

    async def text() -> AsyncGenerator[str, None]:
        if stage == "in the text":
            yield "Good morning. How"
        if stage != "in the sound":
            reached.set()
            await asyncio.Event().wait()
        yield 50 * MORNING

    async with aclosing(speak(voices, text())) as pieces:
        async for _ in pieces:
            if stage == "in the sound":
                reached.set()
                await asyncio.Event().wait()


async def test_closed(voices: Voices) -> None:
    """Closing ends the child; nothing is started after that."""
    async with nothing_left():
        await spoken(voices, MORNING)
        await voices.close()
    with pytest.raises(Failure, match="stopping"):
        await spoken(voices, MORNING)
