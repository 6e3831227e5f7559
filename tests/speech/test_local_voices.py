"""The voices of this box: espeak-ng itself, and a stand-in for the piper program. hibari has tests of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from echod.sound.pcm import SPEAK_RATE
from echod.speech.backend import Call, Failure, Voice
from echod.speech.local import ahead
from echod.speech.local.voices import Voices
from tests.drivers.leaks import nothing_left

pytestmark = pytest.mark.usefixtures("no_hibari")

ENGLISH = Voice("local", "espeak-ng", "en-us")
PIPER = Voice("local", "piper", "en_US-joe-medium")

# Says each line as so many samples as it has letters, and writes down what it was called with.
PROGRAM = f"""#!{sys.executable}
import pathlib, sys
pathlib.Path(__file__).with_name("called").write_text(repr(sys.argv))
for line in sys.stdin:
    sys.stdout.buffer.write(b"\\x01\\x00" * len(line.strip()))
    sys.stdout.buffer.flush()
"""


async def once(*pieces: str) -> AsyncGenerator[str, None]:
    for piece in pieces:
        yield piece


def speak(voices: Voices, text: AsyncIterator[str], voice: Voice = ENGLISH) -> AsyncGenerator[bytes, None]:
    return voices.speak(text, voice, Call(model=voice.model))


async def spoken(voices: Voices, text: AsyncIterator[str], voice: Voice = ENGLISH) -> bytes:
    async with aclosing(speak(voices, text, voice)) as pieces:
        return b"".join([piece async for piece in pieces])


def add_piper(directory: Path, monkeypatch: pytest.MonkeyPatch, program: str = PROGRAM) -> None:
    """A piper on the PATH, before all else."""
    (directory / "piper").write_text(program)
    (directory / "piper").chmod(0o700)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def add_voice(directory: Path, name: str, **config: object) -> None:
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.onnx").touch()
    (directory / f"{name}.onnx.json").write_text(json.dumps({"audio": {"sample_rate": SPEAK_RATE}, **config}))


@pytest.fixture
async def voices(tmp_path: Path) -> AsyncIterator[Voices]:
    voices = Voices(tmp_path / "voices")
    yield voices
    await voices.close()


@pytest.mark.usefixtures("espeak")
async def test_espeak(voices: Voices) -> None:
    """Whole samples of speech come in pieces of a size that fits a message; more text, more sound."""
    pieces = [piece async for piece in speak(voices, once("Good morning. " * 20), ENGLISH)]
    assert all(len(piece) % 2 == 0 and len(piece) <= 2**16 for piece in pieces)
    sound = b"".join(pieces)
    assert max(sound) > 0
    assert len(sound) == pytest.approx(20 * len(await spoken(voices, once("Good morning. "))), rel=0.1)


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x1b"])
async def test_nothing_to_say(voices: Voices, text: str) -> None:
    """Without words there is no sound, and no failure."""
    assert await spoken(voices, once(text)) == b""


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize(
    "text",
    ["two\nlines", "a\x00b", "\ud800 lone", "--voices", "-v de", "/etc/passwd", "👍 yes", "x" * 2_000, "你" * 700],
)
async def test_strange_text(voices: Voices, text: str) -> None:
    """Whatever people type is text to espeak-ng: not an option, not a file; and none of it gets lost."""
    assert len(await spoken(voices, once(text))) > len(text) * SPEAK_RATE // 50


@pytest.mark.usefixtures("espeak")
async def test_speaks_before_the_text_ends(voices: Voices) -> None:
    """The first sentence is heard while the second is still being written."""
    heard = asyncio.Event()

    async def text() -> AsyncGenerator[str, None]:
        yield "Good morning. "
        await heard.wait()
        yield "How are you?"

    sound = b""
    async with asyncio.timeout(60), aclosing(speak(voices, text(), ENGLISH)) as pieces:
        async for piece in pieces:
            heard.set()
            sound += piece
    assert len(sound) > 1.5 * len(await spoken(voices, once("Good morning. ")))


@pytest.mark.usefixtures("espeak")
async def test_default(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piper's voice of the language comes first, then espeak-ng's, then English; what could be installed is named."""
    names = {tag: (await voices.default(tag)).name for tag in (None, "en-GB", "zh-CN", "fr", "de-AT", "tlh")}
    assert names == {None: "en-us", "en-GB": "en-gb", "zh-CN": "cmn", "fr": "fr-fr", "de-AT": "de", "tlh": "en-us"}

    add_piper(tmp_path, monkeypatch)
    add_voice(voices.directory, "de_DE-thorsten-low", language={"code": "de_DE"})
    add_voice(voices.directory, PIPER.name, espeak={"voice": "en-us"})
    names = {tag: (await voices.default(tag)).name for tag in (None, "en-GB", "zh-CN", "de")}
    assert names == {None: PIPER.name, "en-GB": PIPER.name, "zh-CN": "cmn", "de": "de_DE-thorsten-low"}

    monkeypatch.setenv("PATH", str(tmp_path))
    german = Voices(voices.directory)
    (voices.directory / f"{PIPER.name}.onnx").unlink()
    assert (await german.default(None)).name == "de_DE-thorsten-low"
    with pytest.raises(Failure, match="no voice here speaks fr: run `apt install espeak-ng`") as failure:
        await german.default("fr")
    assert (failure.value.kind, failure.value.commands) == ("missing", ("apt install espeak-ng",))


async def test_piper(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piper is given the voice's file and, a line for each sentence, the text; never the text as an argument."""
    add_piper(tmp_path, monkeypatch)
    add_voice(voices.directory, PIPER.name, espeak={"voice": "en-us"}, language={"code": "en_US"})
    sound = await spoken(voices, once("Well, he", "llo. Good", "\nmorning."), PIPER)
    assert sound == b"\x01\x00" * len("Well, hello." + "Good morning.")
    called = (tmp_path / "called").read_text()
    assert str(voices.directory / f"{PIPER.name}.onnx") in called
    assert "hello" not in called


async def test_piper_rate(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A voice at another rate is resampled."""
    add_piper(tmp_path, monkeypatch)
    add_voice(voices.directory, PIPER.name, audio={"sample_rate": 16_000}, espeak={"voice": "en-us"})
    assert len(await spoken(voices, once("a" * 100), PIPER)) == 2 * 150


async def test_not_voices(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are no voice are not listed; nor is any voice while there is no piper."""
    add_voice(voices.directory, PIPER.name, espeak={"voice": "en-us"})
    assert PIPER not in await voices.find()
    add_piper(tmp_path, monkeypatch)
    assert PIPER in await voices.find()
    add_voice(voices.directory, "no-language")
    add_voice(voices.directory, "no-rate", audio={}, espeak={"voice": "en-us"})
    add_voice(voices.directory, "no-model", espeak={"voice": "en-us"})
    (voices.directory / "no-model.onnx").unlink()
    (voices.directory / "no-json.onnx.json").write_text("<html>")
    assert [voice for voice in await voices.find() if voice.model == "piper"] == [PIPER]


@pytest.mark.parametrize("name", ["xx", "../../etc/passwd", "-h", "en-us+f3", "/etc/passwd", "en-us --stdout"])
@pytest.mark.parametrize("engine", ["espeak-ng", "piper"])
@pytest.mark.usefixtures("espeak")
async def test_unknown_voice(
    voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, name: str
) -> None:
    """A voice that was not found here is refused, whatever it looks like."""
    add_piper(tmp_path, monkeypatch)
    with pytest.raises(Failure, match="is none of the") as failure:
        await spoken(voices, once("Hello."), Voice("local", engine, name))
    assert failure.value.kind == "voice"


@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "input(); raise SystemExit(3)", "input(); os.close(0)"])
async def test_program_breaks_off(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """When the program ends before the text, speaking fails and does not wait for more text."""
    add_piper(tmp_path, monkeypatch, f"#!{sys.executable}\nimport os; {ending}")
    add_voice(voices.directory, PIPER.name, espeak={"voice": "en-us"})

    async def text() -> AsyncGenerator[str, None]:
        while True:
            yield "Hello there. "

    async with asyncio.timeout(60):
        with pytest.raises(Failure, match="piper ended") as failure:
            await spoken(voices, text(), PIPER)
    assert failure.value.kind == "unavailable"


@pytest.mark.usefixtures("espeak")
async def test_text_breaks_off(voices: Voices) -> None:
    """What the text's own source raises comes through as it is, after the sound of what came before."""

    async def text() -> AsyncGenerator[str, None]:
        yield "Good morning. "
        raise LookupError("no more words")

    sound = b""
    with pytest.raises(LookupError, match="no more words"):
        async for piece in speak(voices, text(), ENGLISH):
            sound += piece
    assert len(sound) > SPEAK_RATE


def started(directory: Path) -> list[int]:
    """The process ids of all pipers that were started."""
    return [int(line) for line in (directory / "started").read_text().splitlines()]


NOTES = """import os
with pathlib.Path(__file__).with_name("started").open("a") as file:
    print(os.getpid(), file=file)
"""


async def test_started_ahead(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piper that is a program has started before its text comes, and one that died is not asked."""
    add_piper(tmp_path, monkeypatch, PROGRAM.replace("for line", f"{NOTES}for line"))
    add_voice(voices.directory, PIPER.name, espeak={"voice": "en-us"})
    async with nothing_left():
        await voices.load(PIPER)
        assert voices._ahead._coming
        waiting = (await voices._ahead._coming).pid
        assert len(await spoken(voices, once("Hello there."), PIPER)) == 2 * len("Hello there.")
        assert started(tmp_path) == [waiting]
        following = await voices._ahead._coming
        os.kill(following.pid, signal.SIGKILL)
        await following.wait()
        assert len(await spoken(voices, once("Hello."), PIPER)) == 2 * len("Hello.")
        assert started(tmp_path)[-1] != following.pid
        await voices.close()


async def test_nothing_waits_for_ever(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that waits for a text ends when none comes for long."""
    monkeypatch.setattr(ahead, "IDLE", 0.0)
    add_piper(tmp_path, monkeypatch)
    add_voice(voices.directory, PIPER.name, espeak={"voice": "en-us"})
    await voices.load(PIPER)
    assert voices._ahead._coming
    process = await voices._ahead._coming
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL
    assert voices._ahead._coming is None


async def speak_until(voices: Voices, stage: str, reached: asyncio.Event) -> None:
    """Speak, and stop at this stage for ever."""

    async def text() -> AsyncGenerator[str, None]:
        if stage == "in the text":
            yield "Good morning. How"
        if stage != "in the sound":
            reached.set()
            await asyncio.Event().wait()
        yield 50 * "Good morning. "  # more than the pipe and its reader take at once

    async with aclosing(speak(voices, text(), ENGLISH)) as pieces:
        async for _ in pieces:
            if stage == "in the sound":
                reached.set()
                await asyncio.Event().wait()


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize(
    "stage", ["while it starts", "before the text", pytest.param("in the text", marks=pytest.mark.long), "in the sound"]
)
async def test_cancelled(voices: Voices, stage: str) -> None:
    """Two hundred calls cancelled at each stage leave no file, thread, task or process behind."""
    await spoken(voices, once("What is loaded once stays."))
    async with nothing_left():
        for count in range(200):
            reached = asyncio.Event()
            speaking = asyncio.create_task(speak_until(voices, stage, reached))
            if stage == "while it starts":
                for _ in range(count % 40):
                    await asyncio.sleep(0)
            else:
                await reached.wait()
            speaking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await speaking
