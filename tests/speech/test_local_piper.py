"""piper as a package of this environment: its voices stay loaded. A stand-in plays the package."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from textwrap import dedent

import pytest

from echod.sound.pcm import SPEAK_RATE
from echod.speech.backend import Call, Failure, Voice
from echod.speech.local.voice import Loaded
from echod.speech.local.voices import Voices

JOE = Voice("local", "piper", "en_US-joe-medium")
RATE = SPEAK_RATE // 2

# Says each sentence as so many samples as it has letters, and writes down what it was loaded with.
PACKAGE = {
    "piper_tts-1.8.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: piper-tts\nVersion: 1.8.0\n",
    "piper/__init__.py": "",
    "piper/config.py": """
        class PiperConfig:
            @staticmethod
            def from_dict(config):
                made = PiperConfig()
                made.phoneme_type = config.get("phoneme_type", "espeak")
                return made
    """,
    "piper/voice.py": """
        import pathlib

        class Chunk:
            def __init__(self, text):
                self.audio_int16_bytes = b"\\x01\\x00" * len(text)

        class PiperVoice:
            def __init__(self, session, config):
                with (pathlib.Path(__file__).parent / "loaded").open("a") as file:
                    print(session.path, session.threads, file=file)

            def synthesize(self, text):
                yield Chunk(text)
    """,
    "onnxruntime.py": """
        def set_default_logger_severity(level):
            pass

        class SessionOptions:
            pass

        class InferenceSession:
            def __init__(self, path, options, providers):
                self.path, self.threads = path, options.intra_op_num_threads
    """,
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in for piper-tts lies, which the daemon and its children find before all else."""
    site = tmp_path / "site"
    for name, text in PACKAGE.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(dedent(text))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(site)
    return site


@pytest.fixture
async def voices(tmp_path: Path, package: Path, no_hibari: None) -> AsyncIterator[Voices]:
    voices = Voices(tmp_path / "voices")
    add_voice(voices.directory, JOE.name)
    yield voices
    await voices.close()


def add_voice(directory: Path, name: str, **config: object) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.onnx").touch()
    config = {"audio": {"sample_rate": RATE}, "language": {"code": "en_US"}, **config}
    (directory / f"{name}.onnx.json").write_text(json.dumps(config))
    return directory / f"{name}.onnx"


async def once(*pieces: str) -> AsyncGenerator[str, None]:
    for piece in pieces:
        yield piece


async def spoken(voices: Voices, *text: str, voice: Voice = JOE) -> bytes:
    async with aclosing(voices.speak(once(*text), voice, Call(model="piper"))) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_stays_loaded(voices: Voices, package: Path) -> None:
    """A voice is loaded once, on one thread, and speaks sentence by sentence; its sound is brought to SPEAK_RATE."""
    assert await voices.default("en") == JOE
    for _ in range(3):
        sound = await spoken(voices, "Well, he", "llo. Good", "\nmorning.")
        assert len(sound) == 2 * 2 * len("Well, hello." + "Good morning.")
    assert (package / "piper" / "loaded").read_text() == f"{voices.directory / JOE.name}.onnx 1\n"
    assert voices._models.pid


async def test_chinese_needs_its_reader(voices: Voices) -> None:
    """A Chinese voice without the model that reads to it, which piper would download, is refused, and else speaks."""
    name = "zh_CN-xiao_ya-medium"
    path = add_voice(voices.directory, name, phoneme_type="pinyin", language={"code": "zh_CN"})
    with pytest.raises(Failure, match="needs piper's g2pW beside it") as failure:
        await spoken(voices, "你好。", voice=Voice("local", "piper", name))
    assert failure.value.kind == "missing"
    (path.parent / "g2pW").mkdir()
    assert await spoken(voices, "你好。", voice=Voice("local", "piper", name))


async def test_the_package_goes_before_the_program(
    voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piper on the PATH is not started where the package can keep voices loaded."""
    (tmp_path / "piper").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "piper").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance((await voices.find())[JOE].speaker, Loaded)
    assert await spoken(voices, "Hello.")
