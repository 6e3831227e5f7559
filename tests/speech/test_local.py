"""This box as a backend: what it hears, replies and speaks, and what it says where a part is missing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from echod.sound.pcm import HEAR_RATE, SPEAK_RATE
from echod.sound.resample import Resampler
from echod.speech.backend import Call, Failure, Message, Question, Voice
from echod.speech.local.backend import Local
from echod.speech.tools import CallPiece, Tool, Toolbox, ToolCall
from tests.stand_ins.tiny_chat import write_chat_model

ENGLISH = Voice("local", "espeak-ng", "en-us")
HEART = Voice("local", "hibari", "heart")
WHISPER = "whisper-tiny.en"
SENTENCES = (
    "Good morning everyone, and welcome to the meeting.",
    "Please open the window, because it is very hot in this room.",
    "We are going to the market to buy some bread and milk.",
)


@pytest.fixture
async def local(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Local]:
    """A box with nothing on it but the programs of this machine; Whisper's checkpoint too, if a test wants assets."""
    if "assets" in request.fixturenames:
        assets: Path = request.getfixturevalue("assets")
        (tmp_path / "whisper-tiny.en.pt").symlink_to(assets / "models" / "whisper-tiny.en.pt")
    local = Local(tmp_path)
    yield local
    await local.close()


async def once(text: str) -> AsyncGenerator[str, None]:
    yield text


async def recorded(local: Local, text: str) -> bytes:
    """The text as sound to hear."""
    resampler = Resampler(SPEAK_RATE, HEAR_RATE)
    async with aclosing(local.speak(once(text), HEART, Call(model="hibari"))) as pieces:
        sound = [resampler.feed(piece) async for piece in pieces]
    return b"".join([*sound, resampler.flush()])


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


async def test_hears_what_it_speaks(local: Local, assets: Path) -> None:
    """Sentences of an offline voice are heard with 95% of their words at least, in whatever language the call says."""
    model = local.default_model("hear")
    assert model == "whisper-tiny.en.pt"
    await local.ready("hear", model)
    for sentence, language in zip(SENTENCES, (None, "en-US", "tlh"), strict=True):
        heard = await local.hear(await recorded(local, sentence), Call(model=model, language=language))
        same = sum(block.size for block in SequenceMatcher(None, words(sentence), words(heard)).get_matching_blocks())
        assert same >= 0.95 * len(words(sentence)), heard
    assert await local.hear(b"", Call(model=model)) == ""

    (local.weights_dir / "broken.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(Failure, match=r"broken\.pt is not a whole Whisper checkpoint") as failure:
        await local.ready("hear", "broken")
    assert failure.value.kind == "missing"


@pytest.mark.long
async def test_child_killed(local: Local, assets: Path) -> None:
    """When the child is killed, what it was hearing fails as unavailable, and the next call has a new child."""
    sound = await recorded(local, SENTENCES[0])
    await local.ready("hear", WHISPER)
    first = local._models.pid
    assert first
    hearing = [asyncio.create_task(local.hear(20 * sound, Call(model=WHISPER))) for _ in range(3)]
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    for failure in await asyncio.gather(*hearing, return_exceptions=True):
        assert isinstance(failure, Failure)
        assert (failure.kind, str(-signal.SIGKILL) in failure.message) == ("unavailable", True)
    assert "morning" in await local.hear(sound, Call(model=WHISPER))
    assert local._models.pid not in (None, first)


async def test_replies(local: Local, tmp_path: Path) -> None:
    """A chat model's words come one by one; personality and history are put to it; tokens are counted."""
    write_chat_model(tmp_path / "chat", ["hello", "there", "friend"])
    await local.ready("reply", "chat")
    call = Call(model="chat")
    history = [Message("user", "a b"), Message("assistant", "c")]
    turn = Question(text="d", personality="e f", history=history)
    assert [str(piece) async for piece in local.reply(turn, call)] == ["hello", " there", " friend"]
    asked = "<system> e f <end> <user> a b <end> <assistant> c <end> <user> d <end> <assistant>"
    assert call.usage == {"input_tokens": len(asked.split()), "output_tokens": 4}

    (tmp_path / "chat" / "chat_template.jinja").rename(tmp_path / "chat_template.jinja")
    (tmp_path / "chat").rename(tmp_path / "base")
    with pytest.raises(Failure, match=r"base has no chat template: take a model made for chat") as failure:
        await local.ready("reply", "base")
    assert failure.value.kind == "missing"


async def test_a_model_with_tools(local: Local, tmp_path: Path) -> None:
    """A model whose template says how is told of tools, and its calls are read out of what it writes."""
    words = ["Look:", "<tool_call>", '{"name":', '"weather",', '"arguments":', '{"place":1}}', "</tool_call>"]
    write_chat_model(tmp_path / "chat", words)
    assert not local.calls_tools("chat") and not local.calls_tools("scripted")
    template = tmp_path / "chat" / "chat_template.jinja"
    tools = "{% for each in tools or [] %}{{ each.function.name }} <tool_call> {% endfor %}"
    arguments = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments.a }} {% endfor %}{% endfor %}"
    )
    template.write_text(tools + arguments + template.read_text())
    assert local.calls_tools("chat")
    history = [Message("assistant", "", [ToolCall("c", "f", '{"a": 1}')]), Message("tool", "2", call_id="c")]
    call = Call(model="chat")
    turn = Question(history=history, tools=Toolbox([Tool("weather")]))
    pieces = [piece async for piece in local.reply(turn, call)]
    assert "".join(piece for piece in pieces if isinstance(piece, str)).strip() == "Look:"
    assert pieces[-1] == CallPiece(0, '{"place": 1}', "weather")
    asked = "weather <tool_call> 1 <assistant> <end> <tool> 2 <end> <assistant>"
    assert call.usage["input_tokens"] == len(asked.split())


async def test_scripted_reply(local: Local, no_mind: None) -> None:
    """Without a language model the reply says so and repeats what was said, in Chinese where that was; in pieces."""
    model = local.default_model("reply")
    assert model == "scripted"
    await local.ready("reply", model)
    pieces = [str(piece) async for piece in local.reply(Question(text="Is it late?"), Call(model=model))]
    assert "".join(pieces) == "This is a scripted reply: no language model is set up. You said: Is it late?"
    assert len(pieces) > 10
    chinese = "".join([str(piece) async for piece in local.reply(Question(text="你好"), Call(model=model))])
    assert "没有设置语言模型" in chinese
    assert chinese.endswith("你好")
    assert local._models.pid is None


@pytest.mark.usefixtures("espeak")
async def test_speaks(local: Local, no_hibari: None) -> None:
    """The default voice speaks."""
    assert await local.default_voice(None) == ENGLISH
    assert ENGLISH in await local.voices()
    sound = [piece async for piece in local.speak(once("Good morning."), ENGLISH, Call(model="espeak-ng"))]
    assert len(b"".join(sound)) > SPEAK_RATE


def test_default_whisper(tmp_path: Path) -> None:
    """What people put there themselves comes before the file of EchoMimic's, and what came last before all else."""
    local = Local(tmp_path)
    (tmp_path / "audio_processor").mkdir()
    (tmp_path / "audio_processor" / "whisper_tiny.pt").touch()
    assert local.default_model("hear") == "audio_processor/whisper_tiny.pt"
    (tmp_path / "whisper-base.pt").touch()
    assert local.default_model("hear") == "whisper-base.pt"
    (tmp_path / "whisper-small.pt").touch()
    os.utime(tmp_path / "whisper-base.pt", (0, 0))
    assert local.default_model("hear") == "whisper-small.pt"
    (tmp_path / "whisper-tiny.pt.0123456789abcdef.part").touch()
    assert local.default_model("hear") == "whisper-small.pt"


async def test_missing(local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_hibari: None) -> None:
    """Each part that is missing says what to install or to put where, or which setting to change."""
    monkeypatch.setenv("PATH", str(tmp_path))
    lacking = [
        (
            local.ready("hear", local.default_model("hear")),
            ["whisper.pt", "hear_model", "`echod weights pull whisper:base`"],
        ),
        (local.ready("reply", "qwen"), ["qwen", "config.json", "reply_model"]),
        (local.default_voice("de"), ["apt install espeak-ng", "pip install piper-tts", "voices/"]),
        (anext(local.speak(once("Hello."), ENGLISH, Call(model="espeak-ng"))), ["apt install espeak-ng"]),
    ]
    for call, parts in lacking:
        with pytest.raises(Failure) as failure:
            await call
        assert failure.value.kind == "missing"
        for part in parts:
            assert part in failure.value.message
        assert str(tmp_path) not in failure.value.message  # whoever reads it may be no user of this machine
    assert await local.voices() == []
