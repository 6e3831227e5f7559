"""The child with the models, spoken to as the daemon does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from echod.host.spawn import kill
from echod.sound.pcm import HEAR_RATE
from echod.speech.local.hibari import hibari_names, hibari_voices
from echod.speech.local.messages import (
    LENGTH,
    Answer,
    Done,
    Failed,
    Hear,
    Piece,
    Reply,
    Request,
    Sound,
    Speak,
    Work,
    framed,
)
from echod.speech.local.programs import start
from echod.speech.local.smollm import INSTALL_SMOLLM, has_reader, smollm_file
from echod.speech.local.voice import Loaded
from tests.stand_ins.tiny_chat import write_chat_model

COMMAND = (sys.executable, "-P", "-m", "echod.speech.local.proc")
DAEMON = """
import os, subprocess, sys, time
subprocess.Popen([*sys.argv[1:], str(os.getpid())])
print("started", flush=True)
time.sleep(600)
"""
DECODER = msgspec.msgpack.Decoder(Answer)


class Child:
    """The child's two pipes."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def ask(self, number: int, work: Work | None = None) -> None:
        assert self.process.stdin
        self.process.stdin.write(framed(Request(number, work)))

    async def answer(self) -> Answer:
        assert self.process.stdout
        length = int.from_bytes(await self.process.stdout.readexactly(LENGTH), "big")
        return DECODER.decode(await self.process.stdout.readexactly(length))

    async def answers_until(self, end: Answer) -> list[Answer]:
        """What it says up to `end`."""
        answers = []
        while (answer := await self.answer()) != end:
            answers.append(answer)
        return answers


@pytest.fixture
async def child() -> AsyncIterator[Child]:
    process = await start(*COMMAND, str(os.getpid()), environment={})
    yield Child(process)
    kill(process)
    await process.communicate()


WORDS = ["one", "two", "three"]


def asking(model: Path) -> Reply:
    return Reply(model, messages=[{"role": "user", "content": "hi"}])


@pytest.mark.long
async def test_reply_dropped(child: Child, tmp_path: Path) -> None:
    """A reply nobody wants ends in the middle, one that waits never begins, and the next has its turn.

    To drop what has ended, or never was, is no mistake.
    """
    endless = write_chat_model(tmp_path / "endless", ["on", "and", "over"], endless=True)
    child.ask(9)
    child.ask(1, asking(endless))
    assert await child.answer() == Answer(1, Piece("on"))
    child.ask(2, asking(endless))
    child.ask(3, Reply(endless))
    child.ask(2)
    child.ask(1)
    rest = await child.answers_until(Answer(3, Done()))
    assert {(answer.number, type(answer.said)) for answer in rest} <= {(1, Piece)}
    child.ask(1)
    child.ask(4, Reply(endless))
    assert await child.answer() == Answer(4, Done())


@pytest.mark.long
async def test_most_tokens(child: Child, tmp_path: Path) -> None:
    """A reply ends with its most tokens, and says that it was cut; one that is at its end just then is whole."""
    chat = write_chat_model(tmp_path / "chat", WORDS)
    cut, whole = Failed("length", "the model stopped at 2 tokens"), Done({"input_tokens": 4, "output_tokens": 4})
    ends: dict[int, Failed | Done] = {2: cut, 4: whole}
    for most, end in ends.items():
        child.ask(most, msgspec.structs.replace(asking(chat), max_tokens=most))
        said = [answer.said for answer in await child.answers_until(Answer(most, end))]
        assert "".join(piece.text for piece in said if isinstance(piece, Piece)).split() == WORDS[:most]


async def test_hearing_dropped(child: Child, assets: Path) -> None:
    """Sound nobody wants heard any more is not heard to its end."""
    whisper = assets / "models" / "whisper-tiny.en.pt"
    noise = np.random.default_rng(0).integers(-9000, 9000, 600 * HEAR_RATE, np.int16).tobytes()
    child.ask(1, Hear(whisper, noise))
    child.ask(1)
    child.ask(2, Hear(whisper, noise))
    child.ask(3, Hear(whisper, bytes(2 * HEAR_RATE)))
    child.ask(2)
    assert {answer.number for answer in await child.answers_until(Answer(3, Done()))} == {3}


@pytest.mark.skipif(not (smollm_file() and has_reader()), reason=f"no GGUF file to try: {INSTALL_SMOLLM}")
async def test_llama_dropped(child: Child, tmp_path: Path) -> None:
    """A reply of llama.cpp's that nobody wants ends in the middle."""
    file = smollm_file()
    assert file
    child.ask(1, Reply(file, messages=[{"role": "user", "content": "Count from one to one thousand."}]))
    assert isinstance((await child.answer()).said, Piece)
    child.ask(1)
    child.ask(2, Reply(file))
    assert len(await child.answers_until(Answer(2, Done()))) < 100  # tokens; of itself it writes a thousand


@pytest.mark.skipif(not hibari_names(), reason="hibari-tts is not installed: pip install '.[voice]'")
async def test_sentence_dropped(child: Child) -> None:
    """What nobody wants to hear is not spoken to its end."""
    speaker = next(iter(hibari_voices(Path()).values())).speaker
    assert isinstance(speaker, Loaded)
    child.ask(1, Speak(speaker.model, "hibari", 200 * "Good morning. "))
    assert isinstance((await child.answer()).said, Sound)
    child.ask(1)
    child.ask(2, Speak(speaker.model, "hibari"))
    assert len(await child.answers_until(Answer(2, Done()))) < 100  # pieces of 200


def test_dies_with_the_daemon() -> None:
    """When the daemon is killed the child ends too, though its pipe is still open."""
    reading, writing = os.pipe()
    with (
        os.fdopen(writing, "wb"),
        os.fdopen(reading, "rb") as questions,
        subprocess.Popen([sys.executable, "-c", DAEMON, *COMMAND], stdin=questions, stdout=subprocess.PIPE) as daemon,
    ):
        assert daemon.stdout and daemon.stdout.readline() == b"started\n"
        daemon.send_signal(signal.SIGKILL)
        assert daemon.stdout.read() == b""  # comes when nobody is left who could write to it
