"""How the OpenAI-compatible backend fails: every failure has its kind, and none hangs."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from pathlib import Path

import pytest

from echod.config import Settings
from echod.host.redaction import redact
from echod.host.secret import Secret
from echod.sound.pcm import SPEAK_RATE
from echod.speech.backend import Call, Failure, Function, Kind, Message, Question, Voice
from echod.speech.calls import Calls, SpeechError
from echod.speech.openai.backend import OpenAI
from echod.speech.plan import FUNCTIONS, open_calls
from echod.speech.usage import Usage
from tests.drivers.openai import HANG, TEXT, use
from tests.making.config import make_config
from tests.making.speech import SECOND, words
from tests.stand_ins.dashscope_answers import words_in
from tests.stand_ins.openai_server import KEY, OpenAIServer

# In whatever is asked for, before anything of the answer has come.
REFUSED: dict[str, Kind] = {
    "auth": "auth",
    "forbidden": "forbidden",
    "payment": "quota",
    "quota": "quota",
    "throttle": "throttled",
    "model": "retired",
    "ollama": "retired",
    "vllm": "retired",
    "kokoro": "retired",
    "endpoint": "invalid",
    "moderated": "moderated",
    "azure": "moderated",
    "invalid": "invalid",
    "validation": "invalid",
    "pydantic": "invalid",
    "large": "invalid",
    "list": "invalid",
    "redirect": "invalid",
    "500": "unavailable",
    "501": "invalid",
    "503": "unavailable",
    "502html": "unavailable",
    "html": "protocol",
    "drop": "connection",
    "close": "connection",
    "nothttp": "protocol",
}
# In the middle of an answer, or instead of one.
BROKEN: list[tuple[Function, str, Kind]] = [
    ("hear", "garbage", "protocol"),
    ("hear", "huge", "protocol"),
    ("hear", "abort", "connection"),
    ("reply", "garbage", "protocol"),
    ("reply", "error200", "throttled"),
    ("reply", "error", "unavailable"),
    ("reply", "abort", "connection"),
    ("reply", "cut", "connection"),
    ("reply", "eof", "protocol"),
    ("reply", "badevent", "protocol"),
    ("reply", "huge", "protocol"),
    ("reply", "filtered", "moderated"),
    ("speak", "voice", "voice"),
    ("speak", "error200", "throttled"),
    ("speak", "abort", "connection"),
    ("speak", "cut", "connection"),
    ("speak", "empty", "protocol"),
    ("speak", "half", "protocol"),
    ("speak", "mp3", "protocol"),
    ("speak", "wavstereo", "protocol"),
    ("speak", "wavempty", "protocol"),
]


async def fails(backend: OpenAI, function: Function, failure: str) -> Failure:
    with pytest.raises(Failure) as failed:
        async with asyncio.timeout(HANG):
            await use(backend, function, failure)
    return failed.value


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("failure", REFUSED)
async def test_refusals(openai: OpenAI, function: Function, failure: str) -> None:
    """Every refusal is told from the others, in words for people that repeat nothing."""
    failed = await fails(openai, function, failure)
    assert failed.kind == REFUSED[failure], failed.message
    assert len(failed.message) < 400
    assert TEXT not in failed.message and "Some words" not in failed.message


@pytest.mark.parametrize(("function", "failure", "kind"), BROKEN)
async def test_broken_answers(openai: OpenAI, function: Function, failure: str, kind: Kind) -> None:
    """An answer that breaks off, ends too early or makes no sense is a failure, and holds nobody up."""
    failed = await fails(openai, function, failure)
    assert failed.kind == kind, failed.message


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_nobody_there(function: Function) -> None:
    """A server that is not there is a failed connection."""
    backend = OpenAI("http://127.0.0.1:1/v1", None, rate=SPEAK_RATE, sound="none")
    assert (await fails(backend, function, "")).kind == "connection"
    await backend.close()


async def test_wrong_key(openai_server: OpenAIServer) -> None:
    """A key that the server does not take is said to be wrong."""
    backend = OpenAI(openai_server.url, Secret("sk-not-the-right-one"), rate=SPEAK_RATE, sound="none")
    failed = await fails(backend, "reply", "")
    assert (failed.kind, failed.message) == (
        "auth",
        "the server answered 401 invalid_api_key: Incorrect API key provided.",
    )
    await backend.close()


@pytest.mark.parametrize(("failure", "seconds"), [("throttle", 0.5), ("503", 0.0), ("500", None)])
async def test_retry_after(openai: OpenAI, failure: str, seconds: float | None) -> None:
    """When to come back is passed on, be it said in seconds or as a date; one that has gone by is now."""
    assert (await fails(openai, "reply", failure)).retry_after == seconds


async def used(calls: Calls, function: Function, model: str) -> None:
    match function:
        case "hear":
            await calls.hear(SECOND, account="local")
        case "reply":
            assert [str(piece) async for piece in calls.reply(Question(text="Hello?"), account="local")]
        case "speak":
            assert [piece async for piece in calls.speak("Hi.", Voice("openai", model, "alloy"), account="local")]


@pytest.mark.parametrize(
    ("function", "failure"),
    [("hear", "slow"), ("reply", "slow"), ("reply", "stall"), ("speak", "slow"), ("speak", "stall")],
)
async def test_nothing_hangs(openai_server: OpenAIServer, tmp_path: Path, function: Function, failure: str) -> None:
    """A server that falls silent, which httpx would wait for for ever, is given up when the settings say so."""
    settings = dict.fromkeys(["hear_timeout", "silence_timeout"], "0.2s")
    model = f"model@{failure}"
    config = make_config(tmp_path, openai_url=openai_server.url, hear_model=model, reply_model=model, **settings)
    openai_server.piece = 100
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}) as calls, asyncio.timeout(HANG):
        with pytest.raises(SpeechError) as failed:
            await used(calls, function, model)
    assert failed.value.kind == "timeout"


@pytest.mark.parametrize("function", ["reply", "speak"])
@pytest.mark.parametrize("failure", ["slow", "headers"])
async def test_nothing_is_waited_for_thrice(
    openai_server: OpenAIServer, tmp_path: Path, function: Function, failure: str
) -> None:
    """A server that gives no sign of life is given up after the first wait: somebody waits for it to speak."""
    model = f"model@{failure}"
    config = make_config(tmp_path, openai_url=openai_server.url, reply_model=model, first_timeout="0.2s")
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}) as calls, asyncio.timeout(HANG):
        with pytest.raises(SpeechError, match=r"first_timeout = 0\.2 s"):
            await used(calls, function, model)
    assert openai_server.asked[model] == 1


async def test_a_reply_without_an_end(openai_server: OpenAIServer, tmp_path: Path) -> None:
    """A server whose model goes on for ever, whatever it was told, is cut short when the time for a reply is over."""
    model, said = "model@endless", list[str]()
    config = make_config(tmp_path, openai_url=openai_server.url, reply_model=model, reply_timeout="0.3s")
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}) as calls, asyncio.timeout(HANG):
        with pytest.raises(SpeechError, match="reply_timeout") as cut:
            async for piece in calls.reply(Question(text="Hello?"), account="local"):
                said.append(str(piece))
    assert (cut.value.kind, said[0]) == ("length", "You sa")
    await openai_server.until(lambda: openai_server.connections == 0)


async def test_a_voice_that_breaks_off(openai_server: OpenAIServer, tmp_path: Path) -> None:
    """Where nobody has heard it yet it is spoken again, and nothing of it is there twice."""
    openai_server.piece = 100
    config, voice = make_config(tmp_path, openai_url=openai_server.url), Voice("openai", "tts-1@abort2", "alloy")
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}) as calls:
        file = bytearray()
        async for piece in calls.speak("Hello there. How are you?", voice, account="local", begin_again=file.clear):
            file += piece
    assert words_in(bytes(file)) == "Hello there.How are you?"


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_what_it_cannot_do(openai_server: OpenAIServer, tmp_path: Path, function: Function) -> None:
    """A server that says it cannot do that is asked once, and nobody is told to try again later."""
    model = "model@501"
    config = make_config(tmp_path, openai_url=openai_server.url, hear_model=model, reply_model=model)
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}) as calls:
        with pytest.raises(SpeechError) as failed:
            await used(calls, function, model)
    assert openai_server.asked[model] == 1 and "later" not in failed.value.message


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_throttling_is_waited_for(openai_server: OpenAIServer, tmp_path: Path, function: Function) -> None:
    """A server that is busy is asked again after the time it names, and the record says how often."""
    model, records = "model@throttle2", list[Usage]()
    config = make_config(tmp_path, openai_url=openai_server.url, hear_model=model, reply_model=model)
    openai_server.retry_after = "0.01"
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}, records.append) as calls:
        await used(calls, function, model)
    assert [(record.outcome, record.attempts, record.model) for record in records] == [("ok", 3, model)]


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_fifty_throttled(openai_server: OpenAIServer, tmp_path: Path, function: Function) -> None:
    """Of fifty calls at once twenty are refused, wait, and are answered; the records say which."""
    model, records = "model@throttle20", list[Usage]()
    config = make_config(tmp_path, openai_url=openai_server.url, hear_model=model, reply_model=model, hear_timeout="1m")
    openai_server.retry_after = "0.1"
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}, records.append) as calls, asyncio.timeout(HANG):
        await asyncio.gather(*(used(calls, function, model) for _ in range(50)))
    assert Counter((record.outcome, record.attempts) for record in records) == {("ok", 1): 30, ("ok", 2): 20}


async def test_the_second_sentence_is_throttled(openai_server: OpenAIServer, tmp_path: Path) -> None:
    """A sentence that is refused before any of its sound has come is asked for again, and no other is."""
    records, voice = list[Usage](), Voice("openai", "model@second", "alloy")
    config = make_config(tmp_path, openai_url=openai_server.url)
    openai_server.retry_after = "0.01"
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}, records.append) as calls:
        pieces = [piece async for piece in calls.speak("First. Second. Third.", voice, account="local")]
    assert words_in(b"".join(pieces)) == "First.Second.Third."
    assert [request.json["input"] for request in openai_server.requests] == ["First.", "Second.", "Second.", "Third."]
    assert [(record.outcome, record.attempts) for record in records] == [("ok", 2)]


@pytest.mark.parametrize("function", ["reply", "speak"])
async def test_servers_that_repeat_a_part(
    openai_server: OpenAIServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, function: Function
) -> None:
    """A server that repeats some of the words tells the caller, and not the log."""
    caplog.set_level(logging.DEBUG, "echod")
    config = make_config(tmp_path, openai_url=openai_server.url, reply_model="model@parrot")
    text = "Look behind the old inn for the treasure."
    turn, voice = Question(text=text), Voice("openai", "model@parrot", "alloy")
    async with open_calls(Settings(config), {"ECHOD_OPENAI_KEY": KEY}) as calls:
        with pytest.raises(SpeechError, match="treasure"):
            if function == "reply":
                assert [str(piece) async for piece in calls.reply(turn, account="local")]
            else:
                assert [piece async for piece in calls.speak(text, voice, account="local")]
    assert "treasure" not in caplog.text and caplog.text.count("again in") == 2


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_servers_that_repeat_what_was_sent(
    openai: OpenAI, function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the key nor what was said gets into messages or logs, whatever the server's words have in them."""
    with caplog.at_level(logging.DEBUG):
        failed = await fails(openai, function, "echo")
    assert KEY not in failed.message and TEXT not in failed.message
    assert KEY not in caplog.text and TEXT not in caplog.text
    assert redact(failed.message) == failed.message


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_fifty_at_once(openai: OpenAI, openai_server: OpenAIServer, function: Function) -> None:
    """Fifty calls run side by side and each gets its own answer."""
    given = await asyncio.gather(*(use(openai, function) for _ in range(50)))
    assert len(openai_server.requests) == 50
    answer = {"hear": "16000 samples at 16000.", "reply": f"You said: {TEXT}", "speak": TEXT}[function]
    assert given == [answer] * 50


async def test_nothing_that_is_said_is_a_file(openai: OpenAI, openai_server: OpenAIServer, tmp_path: Path) -> None:
    """A file whose path is the words, the model, the voice, the personality and the history is never opened."""
    canary = tmp_path / "canary.txt"
    canary.write_text("tweet")
    path, opened = str(canary), list[str]()
    sys.addaudithook(lambda event, args: opened.append(event) if args and args[0] == path else None)
    canary.read_text()
    assert opened.count("open") == 1
    turn, call = Question(text=path, personality=path, history=[Message("user", path)]), Call(model=path, language=path)
    assert "".join([str(piece) async for piece in openai.reply(turn, call)]) == f"You said: {path}"
    assert await openai.hear(SECOND, call)
    assert [piece async for piece in openai.speak(words(path), Voice("openai", path, path), call)]
    assert opened.count("open") == 1
    assert all(b"tweet" not in request.body for request in openai_server.requests)


async def test_openais_key_stays_at_home(openai_server: OpenAIServer, tmp_path: Path) -> None:
    """OPENAI_API_KEY, there for others, is not sent to another server, whose refusal names the key that would be."""
    openai_server.key = None
    config = make_config(tmp_path, openai_url=openai_server.url, reply_model="model@auth")
    async with open_calls(Settings(config), {"OPENAI_API_KEY": KEY}) as calls:
        with pytest.raises(SpeechError, match=r"ECHOD_OPENAI_KEY, .*OPENAI_API_KEY goes to OpenAI alone"):
            await used(calls, "reply", "")
        await used(calls, "hear", "model")
        await used(calls, "speak", "model")
    assert len(openai_server.requests) == 3
    assert not [request for request in openai_server.requests if KEY in str(request)]
    async with open_calls(Settings(config), {"OPENAI_API_KEY": "sk-another", "ECHOD_OPENAI_KEY": KEY}) as calls:
        await used(calls, "hear", "model")
    assert openai_server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
