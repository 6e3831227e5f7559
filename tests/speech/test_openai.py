"""What the OpenAI-compatible backend asks for, and what it makes of the answers."""

from __future__ import annotations

import base64
import json
import re
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest

from echod.host.secret import Secret
from echod.sound.pcm import SPEAK_RATE
from echod.speech.backend import Call, Failure, Message, Question, Voice
from echod.speech.openai.backend import OpenAI
from echod.speech.tools import CallPiece, Tool, Toolbox, ToolCall
from tests.making.speech import SECOND, words
from tests.stand_ins.dashscope_answers import SAMPLES, THOUGHTS, sound_of, words_in
from tests.stand_ins.openai_server import KEY, OpenAIServer

CAPTURES = Path(__file__).parent / "captures"
VOICE = Voice("openai", "tts-1", "alloy")


async def replied(backend: OpenAI, turn: Question, model: str = "chat", call: Call | None = None) -> list[str]:
    return [str(piece) async for piece in backend.reply(turn, call or Call(model=model))]


async def spoken(backend: OpenAI, *text: str, model: str = "tts-1", call: Call | None = None) -> list[bytes]:
    voice = Voice("openai", model, "alloy")
    return [piece async for piece in backend.speak(words(*text), voice, call or Call(model=model))]


def captured(name: str) -> Any:
    """A request that openai's own package was seen to send, its sound left out."""
    return json.loads((CAPTURES / f"openai_{name}.json").read_text())


async def test_hears(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """Sound arrives as a WAV file in the form that openai's package sends, and what was counted is noted."""
    call = Call(model="whisper-1", language="EN-gb")
    assert await openai.hear(SECOND, call) == "16000 samples at 16000."
    (request,) = openai_server.requests
    assert (request.method, request.path) == ("POST", "/v1/audio/transcriptions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    form = request.form
    headers, _ = form.pop("file")
    assert headers["content-disposition"] == 'form-data; name="file"; filename="speech.wav"'
    assert headers["content-type"] == "audio/wav"
    assert {name: content.decode() for name, (_, content) in form.items()} == {
        "model": "whisper-1",
        "language": "en",
        "response_format": "json",
    }
    assert (call.request_id, call.usage) == ("request-1", {"seconds": 2})


async def test_hears_in_any_language(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """A language that is not known is not sent."""
    await openai.hear(SECOND, Call(model="whisper-1"))
    assert set(openai_server.requests[0].form) == {"file", "model", "response_format"}


async def test_replies_to_text(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """Personality and history come first, words alone go as plain text, and the reply comes in pieces."""
    history = [Message("user", "Good evening."), Message("assistant", "Welcome.")]
    call = Call(model="chat")
    turn = Question(text="Who are\u2028you?", personality="You are Echo.", history=history)
    pieces = await replied(openai, turn, call=call)
    assert "".join(pieces) == "You said: Who are\u2028you?"
    assert len(pieces) > 2
    assert openai_server.requests[0].json == {
        "model": "chat",
        "messages": [
            {"role": "system", "content": "You are Echo."},
            {"role": "user", "content": "Good evening."},
            {"role": "assistant", "content": "Welcome."},
            {"role": "user", "content": "Who are\u2028you?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert (call.request_id, call.usage) == ("request-1", {"input_tokens": 57, "output_tokens": 15})


async def test_replies_to_sound(openai_server: OpenAIServer) -> None:
    """Sound goes in the captured form, as a data URI where the server wants one."""
    backend = OpenAI(openai_server.url, Secret(KEY), rate=SPEAK_RATE, sound="data_uri")
    turn = Question(text="Answer.", sound=SECOND, personality="You are Echo.")
    said = await replied(backend, turn, "qwen3-omni-flash")
    assert "".join(said) == "16000 samples at 16000. You said: Answer."
    body = re.sub(rb'(?<=base64,)[^"]+', b"<sound>", openai_server.requests[0].body)
    assert json.loads(body) == captured("reply")
    await backend.close()


async def test_bare_sound(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """By default sound is bare base64, as OpenAI has it."""
    assert await replied(openai, Question(sound=SECOND))
    (part,) = openai_server.requests[0].json["messages"][-1]["content"]
    assert base64.b64decode(part["input_audio"]["data"], validate=True)[:4] == b"RIFF"


@pytest.mark.parametrize(("sound", "hears"), [("base64", True), ("data_uri", True), ("none", False)])
async def test_hears_turns(sound: Literal["base64", "data_uri", "none"], hears: bool) -> None:
    """A server whose chat takes no sound hears no turns."""
    backend = OpenAI("http://127.0.0.1:1/v1", None, rate=SPEAK_RATE, sound=sound)
    assert backend.hears_turns is hears
    await backend.close()


async def test_server_without_stream_options(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """A server that does not know stream_options is asked again without, and never with them after."""
    for _ in range(2):
        assert "".join(await replied(openai, Question(text="Hello?"), "chat@options")) == "You said: Hello?"
    assert ["stream_options" in request.json for request in openai_server.requests] == [True, False, False]


async def test_a_reply_cut_for_length(openai: OpenAI) -> None:
    """A reply of as many tokens as it may have comes as far as it goes, and is known to have no end."""
    said, turn = list[str](), Question(text="Hello?", max_tokens=20)
    with pytest.raises(Failure, match="stopped at 20 tokens") as cut:
        async for piece in openai.reply(turn, Call(model="chat@length")):
            said.append(str(piece))
    assert ("".join(said), cut.value.kind) == ("You said: Hello?", "length")


@pytest.mark.parametrize("how", ["calls", "uncounted"])
async def test_calls_for_functions(openai: OpenAI, openai_server: OpenAIServer, how: str) -> None:
    """Tools go along, and calls of several at once come in pieces, or whole from servers that do not count them."""
    box = Toolbox([Tool("weather", "Somewhere.", {"type": "object"}), Tool("time")], "required", parallel=True)
    called = ToolCall("call_0", "weather", "{}")
    history = [Message("assistant", "", [called]), Message("tool", "rain", call_id="call_0")]
    turn = Question(history=history, tools=box)
    pieces = [piece async for piece in openai.reply(turn, Call(model=f"chat@{how}"))]
    calls = [piece for piece in pieces if isinstance(piece, CallPiece)]
    assert [(each.number, each.name, each.id) for each in calls if each.name] == (
        [(0, "weather", "call_1"), (1, "time", "call_2")] if how == "calls" else [(0, "weather", ""), (1, "time", "")]
    )
    arguments = ["".join(each.arguments for each in calls if each.number == number) for number in (0, 1)]
    assert arguments == ['{"place": "Paris"}', "{}"]
    asked = openai_server.requests[-1].json
    assert asked["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Somewhere.", "parameters": {"type": "object"}},
        },
        {"type": "function", "function": {"name": "time"}},
    ]
    assert (asked["tool_choice"], asked["parallel_tool_calls"]) == ("required", True)
    function = {"name": "weather", "arguments": "{}"}
    assert asked["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "call_0"},
    ]


async def test_most_tokens(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """They are told to the server, by the newer name where it wants that, and not at all where it knows neither."""
    for model in ("chat", "chat@newer", "chat@newer", "chat@neither", "chat"):
        assert await replied(openai, Question(text="Hello?", max_tokens=20), model)
    names = ("max_tokens", "max_completion_tokens")
    told = [[name for name in names if request.json.get(name) == 20] for request in openai_server.requests]
    old, new = [names[0]], [names[1]]
    assert told == [old, old, new, new, new, [], []]


async def test_thinking_is_no_silence(openai: OpenAI) -> None:
    """Whatever the server sends while it thinks says that it is alive."""
    signs: list[None] = []
    call = Call(model="chat@thinks", alive=lambda: signs.append(None))
    assert "".join([str(piece) async for piece in openai.reply(Question(text="Hello?"), call)]) == "You said: Hello?"
    assert len(signs) > THOUGHTS


async def test_speaks(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """Text is spoken in the captured requests, one for each sentence, and comes back in whole samples."""
    call = Call(model="cosyvoice2")
    text = words("Hello trav", "eller. I am ", "Echo. 😀 ")
    pieces = [piece async for piece in openai.speak(text, Voice("openai", "cosyvoice2", "echo"), call)]
    assert words_in(b"".join(pieces)) == "Hello traveller.I am Echo."
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert [request.path for request in openai_server.requests] == ["/v1/audio/speech"] * 2
    assert openai_server.requests[0].json == captured("speak")
    assert call.request_id == "request-1"


async def test_a_sentence_is_spoken_before_the_next_is_known(openai: OpenAI) -> None:
    """Sound begins with the first whole sentence, while the text still comes."""
    heard = False

    async def text() -> AsyncIterator[str]:
        yield "Hello there. "
        yield "You "
        assert heard
        yield "wait."

    async for _ in openai.speak(text(), VOICE, Call(model="tts-1")):
        heard = True
    assert heard


async def test_an_error_of_the_text_is_its_own(openai: OpenAI) -> None:
    """What goes wrong where the text comes from is no failure of the voice."""

    async def text() -> AsyncIterator[str]:
        yield "Hello there. "
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        async for _ in openai.speak(text(), VOICE, Call(model="tts-1")):
            pass


async def test_pieces_of_sound_are_small(openai_server: OpenAIServer) -> None:
    """However fast the sound arrives, and however slow its rate, it is given in pieces of 64 KiB at most."""
    openai_server.piece = 2**20
    backend = OpenAI(openai_server.url, Secret(KEY), rate=8000, sound="none")
    pieces = await spoken(backend, "word " * 30)
    assert max(map(len, pieces)) <= 2**16
    assert sum(map(len, pieces)) == 3 * len(sound_of("word " * 30)[: -2 * SAMPLES])
    await backend.close()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
async def test_other_rates(openai_server: OpenAIServer, rate: int) -> None:
    """Sound at the server's rate leaves at SPEAK_RATE, as long as it was."""
    openai_server.rate = rate
    backend = OpenAI(openai_server.url, Secret(KEY), rate=rate, sound="none")
    samples = len(b"".join(await spoken(backend, "Hello there."))) / 2
    assert samples == round(len("Hello there.") * SAMPLES * SPEAK_RATE / rate)
    await backend.close()


@pytest.mark.parametrize(
    "tells",
    [
        {"X-Sample-Rate": "8000"},
        {"Content-Type": "audio/L16; rate=8000; channels=1"},
        {"Content-Type": "audio/pcm;rate=8000"},
    ],
)
async def test_a_rate_that_is_told(openai: OpenAI, openai_server: OpenAIServer, tells: dict[str, str]) -> None:
    """The rate in the answer is believed rather than the settings, unless it is none."""
    openai_server.tells = tells
    samples = len("Hello there.") * SAMPLES
    assert len(b"".join(await spoken(openai, "Hello there."))) / 2 == samples * SPEAK_RATE / 8000
    openai_server.tells = {name: value.replace("8000", "1") for name, value in tells.items()}
    assert len(b"".join(await spoken(openai, "Hello there."))) / 2 == samples


async def test_a_rate_that_is_doubtful(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """A server whose WAV has another rate than its pcm is taken for is told of, with the setting; no other is."""
    for model, rate, doubtful in (("tts-1", SPEAK_RATE, False), ("tts-1", 22050, True), ("tts-1@mp3", 22050, False)):
        voice, openai_server.rate = Voice("openai", model, "alloy"), rate
        if model == "tts-1":
            await spoken(openai, "Hello there.")
        doubt = await openai.doubt(voice, "Hello there.")
        assert (doubt is not None) is doubtful
        assert doubt is None or "set openai_rate = 22050" in doubt.message
    openai_server.tells = {"X-Sample-Rate": "22050"}
    await spoken(openai, "Hello there.")
    assert await openai.doubt(VOICE, "Hello there.") is None


@pytest.mark.parametrize("failure", ["wav", "wavstream", "wavtail"])
async def test_wav_unasked(openai: OpenAI, failure: str) -> None:
    """A WAV header is no sound, nor is what follows the sound in a WAV file."""
    assert words_in(b"".join(await spoken(openai, "Hello there.", model=f"tts-1@{failure}"))) == "Hello there."


async def test_wav_of_another_rate(openai: OpenAI, openai_server: OpenAIServer) -> None:
    """The rate in a WAV header is believed rather than the settings."""
    openai_server.rate = 8000
    sound = array("h", b"".join(await spoken(openai, "Hello there.", model="tts-1@wav")))
    assert len(sound) == 3 * SAMPLES * len("Hello there.")


async def test_models() -> None:
    """Hearing has a default model; replying has none, and says what to set."""
    backend = OpenAI("http://127.0.0.1:1/v1", None, rate=SPEAK_RATE, sound="none")
    assert backend.default_model("hear") == "whisper-1"
    with pytest.raises(Failure, match=r"reply_model is not set: .*http://127.0.0.1:1/v1/models") as failed:
        backend.default_model("reply")
    assert failed.value.kind == "missing"
    await backend.close()


async def test_voices_given(openai_server: OpenAIServer) -> None:
    """The voices that are configured come first, the first of them is the default, and the server may add more."""
    given = [Voice("openai", "kokoro", "af_sky"), Voice("openai", "kokoro", "am_adam")]
    openai_server.voices = {
        "voices": ["am_adam", "zf_xiaobei", {"id": "x", "model_id": "piper"}, {"no": "name"}, "a/b"]
    }
    backend = OpenAI(openai_server.url, Secret(KEY), rate=SPEAK_RATE, sound="none", voices=given)
    more = [Voice("openai", "kokoro", "zf_xiaobei"), Voice("openai", "piper", "x")]
    assert await backend.voices() == [*given, *more]
    assert await backend.default_voice("zh") == given[0]
    await backend.close()


@pytest.mark.parametrize("answer", [None, {"detail": "no"}, "<html>", {"voices": {}}])
async def test_no_voices(openai: OpenAI, openai_server: OpenAIServer, answer: Any) -> None:
    """A server that lists no voices has OpenAI's, of which we name but the default."""
    openai_server.voices = answer
    assert await openai.voices() == []
    assert await openai.default_voice(None) == VOICE


async def test_voices_in_vain(openai: OpenAI, openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not say in time what voices it has holds nobody up."""
    monkeypatch.setattr("echod.speech.openai.backend.VOICES_TIMEOUT", 0.01)
    openai_server.voices = "stall"
    assert await openai.voices() == []


async def test_without_a_key(openai_server: OpenAIServer) -> None:
    """Servers on one's own network want no key: none is sent."""
    openai_server.key = None
    backend = OpenAI(openai_server.url, None, rate=SPEAK_RATE, sound="none")
    assert await replied(backend, Question(text="Hello?"))
    assert "authorization" not in openai_server.requests[0].headers
    await backend.close()
