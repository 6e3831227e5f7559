"""What DashScope's backend asks for, and what it makes of the answers. The SDK is the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from echod.speech.backend import Call, Failure, Message, Question
from echod.speech.dashscope.backend import DashScope
from echod.speech.tools import CallPiece, Tool, Toolbox, ToolCall
from tests.drivers.dashscope import CHAT, TASKS, VOICE, captured, comparable, spoken
from tests.making.speech import SECOND, words
from tests.stand_ins.dashscope_answers import THOUGHTS, sound_of, words_in
from tests.stand_ins.dashscope_server import DashScopeServer


def reply_call() -> Call:
    return Call(model="qwen3.5-omni-flash")


async def test_hears(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """Sound arrives as a WAV file, the request equals the captured one, and what was counted is noted."""
    call = Call(model="qwen3-asr-flash")
    assert await dashscope.hear(SECOND, call) == "16000 samples at 16000."
    assert comparable(dashscope_server.frames) == captured("hear")
    assert call.request_id == "chatcmpl-1"
    assert call.usage == {"input_tokens": 57, "output_tokens": 15, "seconds": 2}


@pytest.mark.parametrize(("language", "sent"), [("zh-CN", "zh"), ("EN", "en"), (None, None)])
async def test_hears_in_a_language(
    dashscope: DashScope, dashscope_server: DashScopeServer, language: str | None, sent: str | None
) -> None:
    """The language goes along where it is known, without its region."""
    await dashscope.hear(SECOND, Call(model="qwen3-asr-flash", language=language))
    assert dashscope_server.sent(CHAT)[0]["asr_options"].get("language") == sent


async def test_replies_to_sound(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """Personality, history and sound arrive in the captured form, and the reply comes in pieces."""
    turn = Question(
        text="Answer the speaker.",
        sound=SECOND,
        personality="You are Echo, an old innkeeper.",
        history=[Message("user", "Good evening."), Message("assistant", "Welcome, stranger.")],
    )
    call = reply_call()
    pieces = [str(piece) async for piece in dashscope.reply(turn, call)]
    assert "".join(pieces) == "16000 samples at 16000. You said: Answer the speaker."
    assert len(pieces) > 2
    assert comparable(dashscope_server.frames) == captured("reply")
    assert (call.request_id, call.usage) == ("chatcmpl-1", {"input_tokens": 57, "output_tokens": 15})


async def test_replies_to_text(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """Words alone go as plain text, and an absent personality is not sent."""
    assert (
        "".join([str(piece) async for piece in dashscope.reply(Question(text="Hello?"), reply_call())])
        == "You said: Hello?"
    )
    assert dashscope_server.sent(CHAT)[0]["messages"] == [{"role": "user", "content": "Hello?"}]


async def test_calls_for_functions(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """Tools go along, and calls of several at once come in pieces."""
    called = ToolCall("call_0", "weather", "{}")
    history = [Message("assistant", "", [called]), Message("tool", "rain", call_id="call_0")]
    turn = Question(history=history, tools=Toolbox([Tool("weather"), Tool("time")]))
    pieces = [piece async for piece in dashscope.reply(turn, Call(model="qwen3.5-omni-flash@calls"))]
    calls = [piece for piece in pieces if isinstance(piece, CallPiece)]
    assert [(each.number, each.name, each.id) for each in calls if each.name] == [
        (0, "weather", "call_1"), (1, "time", "call_2"),
    ]  # fmt: skip
    arguments = ["".join(each.arguments for each in calls if each.number == number) for number in (0, 1)]
    assert arguments == ['{"place": "Paris"}', "{}"]
    asked = dashscope_server.requests[-1].json
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["weather", "time"]
    assert asked["tool_choice"] == "auto" and asked["messages"] == [message.chat() for message in history]


async def test_thinking_is_no_silence(dashscope: DashScope) -> None:
    """Whatever the server sends while it thinks says that it is alive."""
    signs: list[None] = []
    call = Call(model="qwen3.5-omni-flash@thinks", alive=lambda: signs.append(None))
    assert "".join([str(piece) async for piece in dashscope.reply(Question(text="Hello?"), call)]) == "You said: Hello?"
    assert len(signs) > THOUGHTS


@pytest.mark.parametrize(
    ("model", "thinking", "modalities"),
    [
        ("qwen3.5-omni-flash", None, ["text"]),
        ("qwen3.8-omni-flash-2026-09-01", False, ["text"]),
        ("qwen3.6-flash", False, None),
        ("qwen-flash", None, None),
    ],
)
async def test_thinking_is_off(
    dashscope: DashScope,
    dashscope_server: DashScopeServer,
    model: str,
    thinking: bool | None,
    modalities: list[str] | None,
) -> None:
    """Models that think by default are told not to, and only those with other modalities are asked for text."""
    assert [str(piece) async for piece in dashscope.reply(Question(text="Hello?"), Call(model=model))]
    sent = dashscope_server.sent(CHAT)[0]
    assert (sent.get("enable_thinking"), sent.get("modalities")) == (thinking, modalities)


async def test_a_reply_cut_for_length(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """A reply of as many tokens as it may have comes as far as it goes, and is known to have no end."""
    said, turn = list[str](), Question(text="Hello?", max_tokens=20)
    with pytest.raises(Failure, match="stopped at 20 tokens") as cut:
        async for piece in dashscope.reply(turn, Call(model="qwen3.5-omni-flash@length")):
            said.append(str(piece))
    assert ("".join(said), cut.value.kind) == ("You said: Hello?", "length")
    assert dashscope_server.requests[-1].json["max_tokens"] == 20


async def test_speaks(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """Text goes out in the captured frames, its sound comes back whole, and the characters are counted."""
    call = Call(model=VOICE.model)
    text = ("Hello trav", "eller. I am Echo, ", "keeper of this inn.")
    sound = b"".join([piece async for piece in dashscope.speak(words(*text), VOICE, call)])
    assert words_in(sound) == "".join(text)
    assert comparable(dashscope_server.frames) == captured("speak")
    assert call.request_id == dashscope_server.sent(TASKS)[0]["header"]["task_id"]
    assert call.usage == {"characters": len("".join(text))}


async def test_speaks_while_text_comes(dashscope: DashScope) -> None:
    """The sound of the first words is there before the last words are."""
    heard = asyncio.Event()

    async def text() -> AsyncIterator[str]:
        yield "First."
        await heard.wait()
        yield "Last."

    sound = b""
    async for piece in dashscope.speak(text(), VOICE, Call(model=VOICE.model)):
        sound += piece
        if sound == sound_of("First."):
            heard.set()
    assert words_in(sound) == "First.Last."


@pytest.mark.parametrize("failure", ["odd", "half"])
async def test_sound_in_odd_pieces(dashscope: DashScope, failure: str) -> None:
    """However the server cuts its sound, pieces are of whole samples."""
    pieces = await spoken(dashscope, "Hello there.", model=f"cosyvoice-v3-flash@{failure}")
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert words_in(b"".join(pieces)) == "Hello there."


async def test_long_text(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """Text is sent in frames that the server takes, and none of it is lost."""
    text = "字" * 25_000
    assert words_in(b"".join(await spoken(dashscope, text))) == text
    frames = [frame["payload"]["input"].get("text", "") for frame in dashscope_server.sent(TASKS)]
    assert max(map(len, frames)) <= 10_000
    assert "".join(frames) == text


@pytest.mark.parametrize("text", [(), ("",)])
async def test_nothing_to_say(dashscope: DashScope, dashscope_server: DashScopeServer, text: tuple[str, ...]) -> None:
    """Without text there is no sound, and the server is not even called."""
    assert await spoken(dashscope, *text) == []
    assert dashscope_server.frames == []


async def test_punctuation_may_be_silent(dashscope: DashScope) -> None:
    """A server may have no sound for what has no words."""
    assert await spoken(dashscope, "...", model="cosyvoice-v3-flash@mute") == []


async def test_fifty_at_once(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """Fifty parallel calls of each function get each its own answer."""

    async def replied(text: str) -> str:
        return "".join([str(piece) async for piece in dashscope.reply(Question(text=text), reply_call())])

    calls = range(50)
    heard, said, sound = await asyncio.gather(
        asyncio.gather(*(dashscope.hear(bytes(2 * call), Call(model="qwen3-asr-flash")) for call in calls)),
        asyncio.gather(*(replied(f"number {call}") for call in calls)),
        asyncio.gather(*(spoken(dashscope, f"number {call}") for call in calls)),
    )
    assert heard == [f"{call} samples at 16000." for call in calls]
    assert said == [f"You said: number {call}" for call in calls]
    assert [words_in(b"".join(pieces)) for pieces in sound] == [f"number {call}" for call in calls]
    assert dashscope_server.most_connections >= 50


async def test_voices(dashscope: DashScope) -> None:
    """The default voice is one of those that are listed."""
    assert await dashscope.default_voice("zh") in await dashscope.voices()
