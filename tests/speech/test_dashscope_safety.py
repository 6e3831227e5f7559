"""What must not leave this machine, or show anywhere on it: files that clients name, keys, words."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from echod.errors import ConfigurationError
from echod.host.secret import Secret
from echod.speech.backend import Call, Failure, Message, Question, Voice
from echod.speech.dashscope.backend import DashScope
from tests.drivers.dashscope import CHAT, TASKS, VOICE, spoken
from tests.making.speech import SECOND, words
from tests.stand_ins.dashscope_server import KEY, DashScopeServer

_opened: list[str] | None = None


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(args[0]))


sys.addaudithook(_watch)  # for good: there is no way to remove one


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Every file that is opened during the test, by whatever part of the process."""
    global _opened
    _opened = []
    yield _opened
    _opened = None


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary.wav"
    path.write_bytes(b"nobody is to read this")
    return path


async def call_everything(backend: DashScope, name: str) -> None:
    """Call every function with the name for everything that can be named. What fails is part of it."""
    voice = Voice("dashscope", name, name)
    turn = Question(text=name, personality=name, history=[Message("user", name), Message("assistant", name)])
    spoken_turn = Question(text=name, sound=SECOND, personality=name)
    for model in (name, "qwen3.5-omni-flash"):
        await backend.hear(SECOND, Call(model=model, language=name))
        for said in (turn, spoken_turn):
            assert [piece async for piece in backend.reply(said, Call(model=model))]
    with pytest.raises(Failure):
        assert [piece async for piece in backend.speak(words(name), voice, Call(model=name))]
    await spoken(backend, name)


@pytest.mark.parametrize("form", ["{}", "file://{}"])
async def test_files_that_clients_name(
    dashscope: DashScope, dashscope_server: DashScopeServer, canary: Path, opened: list[str], form: str
) -> None:
    """A file named as text, history, personality, language, voice or model is neither opened nor uploaded."""
    name = form.format(canary)
    await call_everything(dashscope, name)
    assert name in str(dashscope_server.sent(CHAT)) and name in str(dashscope_server.sent(TASKS))
    assert [path for path in opened if canary.name in path] == []
    assert dashscope_server.uploads == []


async def test_the_canary_sings(dashscope_server: DashScopeServer, canary: Path, opened: list[str]) -> None:
    """The SDK itself, asked in another way, does open and upload such a file; and here that is noticed."""
    from dashscope import AsyncClient

    client = AsyncClient(api_key=KEY, base_url=f"{dashscope_server.origin}/api/v1", protocol="native", max_retries=0)
    message = {"role": "user", "content": [{"type": "audio", "url": str(canary)}]}
    await client.chat.completions.create(model="qwen3-omni-flash", messages=[message])
    await client.aclose()
    assert [path for path in opened if canary.name in path]
    assert len(dashscope_server.uploads) == 2


@pytest.mark.parametrize(
    "failure", ["", "echo", "auth", "throttle", "sseerror", "sseabort", "ssegarbage", "midfail", "midclose"]
)
async def test_keys_and_words_stay_private(
    dashscope_server: DashScopeServer, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    """Neither the key nor what is said shows in logs at any level, nor in failures, even if the server repeats them."""
    caplog.set_level(logging.DEBUG)
    backend = DashScope(Secret(KEY), dashscope_server.url, dashscope_server.ws_url)
    shown = []
    turn = Question(text="The treasure is under the oak.", personality="You know of a treasure.")
    try:
        assert [piece async for piece in backend.reply(turn, Call(model=f"qwen3.5-omni-flash@{failure}"))]
    except Failure as error:
        shown.append(str(error))
    try:
        await spoken(backend, "The treasure is under the oak.", model=f"{VOICE.model}@{failure}")
    except Failure as error:
        shown.append(str(error))
    await backend.close()
    shown.append(repr(backend))
    shown += [record.getMessage() for record in caplog.records if record.name != "websockets.server"]  # the test's own
    assert not [text for text in shown if KEY in text or "treasure" in text]


async def test_other_settings_of_the_sdk(
    dashscope_server: DashScopeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the SDK's own variables and files changes where calls go and whose they are; nor is any changed."""
    import dashscope as sdk

    (tmp_path / ".dashscope").mkdir()
    elsewhere = 'api_key = "sk-elsewhere-012345"\nbase_url = "http://127.0.0.1:9/v1"\nworkspace = "elsewhere"\n'
    (tmp_path / ".dashscope" / "config.toml").write_text(elsewhere)
    (tmp_path / ".dashscope" / "api_key").write_text("sk-elsewhere-012345")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-elsewhere-012345")
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "elsewhere")
    for name in ("DASHSCOPE_BASE_URL", "DASHSCOPE_HTTP_BASE_URL", "DASHSCOPE_WEBSOCKET_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/v1")
    for key in (Secret(KEY), None):
        backend = DashScope(key, dashscope_server.url, dashscope_server.ws_url)
        for call in (backend.hear(SECOND, Call(model="qwen3-asr-flash")), spoken(backend, "Hello.")):
            with nullcontext() if key else pytest.raises(Failure, match="401"):
                await call
        await backend.close()
    keys = {(frame.path, frame.headers.get("authorization")) for frame in dashscope_server.frames}
    assert keys == {(CHAT, f"Bearer {KEY}"), (CHAT, None), (TASKS, f"Bearer {KEY}"), (TASKS, None)}
    assert not [frame for frame in dashscope_server.frames if "x-dashscope-workspace" in frame.headers]
    assert sdk.settings.get_explicit("api_key") is None and sdk.api_key != KEY


async def test_a_workspace(dashscope_server: DashScopeServer) -> None:
    """A workspace is named to both servers."""
    backend = DashScope(Secret(KEY), dashscope_server.url, dashscope_server.ws_url, "llm-workspace")
    await backend.hear(SECOND, Call(model="qwen3-asr-flash"))
    await spoken(backend, "Hello.")
    await backend.close()
    named = {(frame.path, frame.headers.get("x-dashscope-workspace")) for frame in dashscope_server.frames}
    assert named == {(CHAT, "llm-workspace"), (TASKS, "llm-workspace")}


async def test_settings_that_the_sdk_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the SDK's that make no sense are an error in the configuration."""
    monkeypatch.setenv("DASHSCOPE_TIMEOUT", "soon")
    with pytest.raises(ConfigurationError, match="soon"):
        DashScope(Secret(KEY), "http://127.0.0.1:9/v1", "ws://127.0.0.1:9/ws")
