"""DashScope as the daemon calls it: silence ended by our own watch, and throttling waited for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from echod.config import Settings
from echod.speech import attempts as run
from echod.speech.backend import Function, Question, Voice
from echod.speech.calls import Calls, SpeechError
from echod.speech.plan import FUNCTIONS, open_calls
from echod.speech.usage import Usage
from tests.making.config import make_config
from tests.making.speech import SECOND
from tests.stand_ins.dashscope_answers import words_in
from tests.stand_ins.dashscope_server import KEY, DashScopeServer
from tests.stand_ins.loopback import HANG

CALLS = 50


class Service:
    """Calls to the server that fail as `failure` says; the SDK's own timeouts are at an hour."""

    def __init__(self, server: DashScopeServer, directory: Path, failure: str, **settings: Any) -> None:
        models = {"hear_model": f"qwen3-asr-flash@{failure}", "reply_model": f"qwen3.5-omni-flash@{failure}"}
        urls = {"dashscope_url": server.url, "dashscope_ws_url": server.ws_url}
        self.settings = Settings(make_config(directory, **{**models, **urls, **settings}))
        self.voice = Voice("dashscope", f"cosyvoice-v3-flash@{failure}", "longanyang")
        self.records: list[Usage] = []

    async def use(self, calls: Calls, function: Function, text: str | AsyncIterator[str] = "Who goes there?") -> str:
        match function:
            case "hear":
                return await calls.hear(SECOND, account="a")
            case "reply":
                assert isinstance(text, str)
                return "".join([str(piece) async for piece in calls.reply(Question(text=text), account="a")])
            case "speak":
                return words_in(b"".join([piece async for piece in calls.speak(text, self.voice, account="a")]))

    def calls(self) -> Any:
        return open_calls(self.settings, {"DASHSCOPE_API_KEY": KEY}, self.records.append)


async def endless() -> AsyncIterator[str]:
    while True:
        yield "la " * 3000
        await asyncio.sleep(0)


STALLS: list[tuple[Function, str, int]] = [
    ("hear", "slow", 1),  # which takes hear_timeout, all there is
    ("reply", "slow", 3),
    ("reply", "ssestall", 1),
    ("speak", "nostart", 3),
    ("speak", "stall", 1),
    ("speak", "nofinish", 1),
    ("speak", "deaf", 3),
    ("speak", "silent", 3),
]


@pytest.mark.parametrize(("function", "failure", "attempts"), STALLS)
async def test_silence_ends_by_our_watch(
    dashscope_server: DashScopeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: Function,
    failure: str,
    attempts: int,
) -> None:
    """A server that falls silent anywhere, its handshake included, is given up by the setting that the error names."""
    monkeypatch.setattr(run, "BACKOFF", 0.0)
    silence = "0.2s" if attempts > 1 else "2s"  # what comes before the silence has to come within it
    settings = {"hear_timeout": "0.2s", "silence_timeout": silence, "reply_timeout": "1h", "speak_timeout": "1h"}
    if failure == "silent":
        settings["dashscope_ws_url"] = f"{dashscope_server.ws_url}@silent"
    service = Service(dashscope_server, tmp_path, failure, **settings)
    text = endless() if failure == "deaf" else "Who goes there?"
    async with service.calls() as calls, asyncio.timeout(HANG):
        with pytest.raises(SpeechError, match="hear_timeout" if function == "hear" else "silence_timeout"):
            await service.use(calls, function, text)
        if failure != "deaf":  # whom nobody can tell
            await dashscope_server.until(lambda: dashscope_server.connections == 0)
    assert [(record.outcome, record.attempts) for record in service.records] == [("timeout", attempts)]


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_fifty_throttled(dashscope_server: DashScopeServer, tmp_path: Path, function: Function) -> None:
    """Of fifty calls at once twenty are refused, wait, and are answered; the records say which."""
    dashscope_server.retry_after = "0.1"  # of HTTP; a WebSocket's refusals name no time
    service = Service(dashscope_server, tmp_path, "throttle20", reply_timeout="1m", hear_timeout="1m")
    texts = [f"This is call {number}." for number in range(CALLS)]
    async with service.calls() as calls, asyncio.timeout(HANG):
        answers = await asyncio.gather(*(service.use(calls, function, text) for text in texts))
    expected = {
        "hear": ["16000 samples at 16000."] * CALLS,
        "reply": [f"You said: {text}" for text in texts],
        "speak": texts,
    }
    assert answers == expected[function]
    assert Counter((record.outcome, record.attempts) for record in service.records) == {("ok", 1): 30, ("ok", 2): 20}


@pytest.mark.parametrize("function", ["reply", "speak"])
async def test_words_that_a_server_repeats(
    dashscope_server: DashScopeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    function: Function,
) -> None:
    """A server that repeats some of the words tells the caller, and not the log."""
    monkeypatch.setattr(run, "BACKOFF", 0.0)
    caplog.set_level("DEBUG", "echod")
    service = Service(dashscope_server, tmp_path, "parrot")
    async with service.calls() as calls:
        with pytest.raises(SpeechError, match="treasure"):
            await service.use(calls, function, "I know what you seek. Look for the treasure.")
    assert "treasure" not in caplog.text and caplog.text.count("again in") == 2
