"""Every way in which DashScope, its SDK and the network fail, and what each is told apart as."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from echod.host.secret import Secret
from echod.speech.backend import Call, Failure, Kind, Question, Voice
from echod.speech.dashscope.backend import DashScope
from tests.drivers.dashscope import VOICE, spoken
from tests.making.speech import SECOND, words
from tests.stand_ins.dashscope_answers import REFUSALS
from tests.stand_ins.dashscope_server import KEY, DashScopeServer

REFUSED: dict[str, Kind] = {
    "auth": "auth",
    "forbidden": "forbidden",
    "throttle": "throttled",
    "burst": "throttled",
    "allocation": "throttled",
    "free": "quota",
    "quota": "quota",
    "arrearage": "quota",
    "notfound": "retired",
    "notexist": "retired",
    "moderated": "moderated",
    "invalid": "invalid",
    "large": "invalid",
    "500": "unavailable",
    "503": "unavailable",
}
HTTP: dict[str, Kind] = {
    **REFUSED,
    "502html": "unavailable",
    "drop": "connection",
    "garbage": "protocol",
    "eof": "protocol",
    "filtered": "moderated",
}
SSE: dict[str, Kind] = {"sseerror": "throttled", "sseabort": "connection", "ssegarbage": "protocol"}
WEBSOCKET: dict[str, Kind] = {
    **REFUSED,
    "startclose": "unavailable",
    "startclose1001": "unavailable",
    "startclose1012": "unavailable",
    "startclose1013": "unavailable",
    "startclose1008": "protocol",
    "startabort": "connection",
    "startbinary": "protocol",
    "startforeign": "protocol",
    "startgarbage": "protocol",
    "startlist": "protocol",
    "midfail": "unavailable",
    "midclose": "unavailable",
    "midabort": "connection",
    "midgarbage": "protocol",
    "midforeign": "protocol",
    "huge": "protocol",
    "mute": "protocol",
    "finishclose": "protocol",
}
HANDSHAKE: dict[str, Kind] = {
    "auth": "auth",
    "forbidden": "forbidden",
    "throttle": "throttled",
    "503": "unavailable",
    "502html": "unavailable",
    "drop": "connection",
}


async def hear(backend: DashScope, failure: str = "") -> None:
    await backend.hear(SECOND, Call(model=f"qwen3-asr-flash@{failure}"))


async def reply(backend: DashScope, failure: str = "") -> None:
    async for _ in backend.reply(Question(text="Who goes there?"), Call(model=f"qwen3.5-omni-flash@{failure}")):
        pass


async def speak(backend: DashScope, failure: str = "") -> None:
    await spoken(backend, "Who goes there?", model=f"cosyvoice-v3-flash@{failure}")


FUNCTIONS = [hear, reply, speak]


def test_every_refusal_is_tried() -> None:
    """No refusal of the server is left out here."""
    assert REFUSED.keys() == REFUSALS.keys()


@pytest.mark.parametrize(("failure", "kind"), [*HTTP.items(), ("nochoice", "protocol")])
async def test_hearing_fails(dashscope: DashScope, failure: str, kind: Kind) -> None:
    """Every failure of an HTTP answer is told apart."""
    with pytest.raises(Failure) as caught:
        await hear(dashscope, failure)
    assert caught.value.kind == kind, caught.value


@pytest.mark.parametrize(("failure", "kind"), [*HTTP.items(), *SSE.items()])
async def test_replying_fails(dashscope: DashScope, failure: str, kind: Kind) -> None:
    """So is every failure of a stream."""
    with pytest.raises(Failure) as caught:
        await reply(dashscope, failure)
    assert caught.value.kind == kind, caught.value


@pytest.mark.parametrize(("failure", "kind"), WEBSOCKET.items())
async def test_speaking_fails(
    dashscope: DashScope, dashscope_server: DashScopeServer, failure: str, kind: Kind
) -> None:
    """So is every failure of a task, and its socket is let go of."""
    with pytest.raises(Failure) as caught:
        await speak(dashscope, failure)
    assert caught.value.kind == kind, caught.value
    await dashscope_server.until(lambda: dashscope_server.connections == 0)


@pytest.mark.parametrize(("failure", "kind"), HANDSHAKE.items())
async def test_handshakes_fail(dashscope_server: DashScopeServer, failure: str, kind: Kind) -> None:
    """So is every failure of a WebSocket's handshake."""
    dashscope_server.retry_after = "3"
    backend = DashScope(Secret(KEY), dashscope_server.url, f"{dashscope_server.ws_url}@{failure}")
    with pytest.raises(Failure) as caught:
        await speak(backend)
    assert caught.value.kind == kind, caught.value
    assert caught.value.retry_after == (3.0 if kind == "throttled" else None)
    await backend.close()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("key", [None, Secret("sk-another-0123456789")])
async def test_a_wrong_key(dashscope_server: DashScopeServer, function: type, key: Secret | None) -> None:
    """A wrong key is told at once, in speaking too; and so is none."""
    backend = DashScope(key, dashscope_server.url, dashscope_server.ws_url)
    with pytest.raises(Failure) as caught:
        await function(backend)
    assert caught.value.kind == "auth"
    assert "401 InvalidApiKey: Invalid API-key provided." in caught.value.message
    await backend.close()


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_nobody_there(function: type) -> None:
    """A server that is not there is a failed connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{listener.getsockname()[1]}"  # bound, and not listening
        backend = DashScope(Secret(KEY), f"http://{place}/v1", f"ws://{place}/ws")
        with pytest.raises(Failure) as caught:
            await function(backend)
        assert caught.value.kind == "connection"
        await backend.close()


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_not_even_http(function: type) -> None:
    """A server of another kind makes no sense."""

    gone = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        await reader.read()  # until the client has had enough
        writer.close()
        gone.set()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        backend = DashScope(Secret(KEY), f"http://{place}/v1", f"ws://{place}/ws")
        with pytest.raises(Failure) as caught:
            await function(backend)
        assert caught.value.kind == "protocol", caught.value
        await backend.close()
        await gone.wait()


async def test_unknown_voice(dashscope: DashScope) -> None:
    """What the server calls error 418 is a voice that the model has not."""
    with pytest.raises(Failure, match="418") as caught:
        async for _ in dashscope.speak(
            words("Hello."), Voice("dashscope", VOICE.model, "nobody"), Call(model=VOICE.model)
        ):
            pass
    assert caught.value.kind == "voice"


async def test_sound_before_a_failure(dashscope: DashScope) -> None:
    """What was spoken before a failure is delivered before it."""
    sound = b""
    with pytest.raises(Failure):
        voice = Voice("dashscope", "cosyvoice-v3-flash@midclose", VOICE.name)
        async for piece in dashscope.speak(words("Hello."), voice, Call(model=voice.model)):
            sound += piece
    assert sound


async def test_a_task_finished_too_early(dashscope: DashScope) -> None:
    """A server that finishes before it has the whole text has not spoken it."""
    failed = asyncio.Event()

    async def text() -> AsyncIterator[str]:
        yield "First."
        await failed.wait()

    with pytest.raises(Failure, match="before it had the whole text"):
        voice = Voice("dashscope", "cosyvoice-v3-flash@midfinish", VOICE.name)
        async for _ in dashscope.speak(text(), voice, Call(model=voice.model)):
            pass


@pytest.mark.parametrize("before", [[], ["First."]])
async def test_text_that_fails(dashscope: DashScope, dashscope_server: DashScopeServer, before: list[str]) -> None:
    """What goes wrong with the text is not the voice's failure: it is raised as it is."""

    async def text() -> AsyncIterator[str]:
        for piece in before:
            yield piece
        raise RuntimeError("no more words")

    with pytest.raises(RuntimeError, match="no more words"):
        async for _ in dashscope.speak(text(), VOICE, Call(model=VOICE.model)):
            pass
    await dashscope_server.until(lambda: dashscope_server.connections == 0)


@pytest.mark.parametrize(
    ("header", "least", "most"), [("7", 7, 7), ("0.5", 0.5, 0.5), ("in a minute", 1, 60), ("soon", None, None)]
)
async def test_when_to_come_back(
    dashscope: DashScope, dashscope_server: DashScopeServer, header: str, least: float | None, most: float | None
) -> None:
    """Retry-After is understood as seconds and as a date."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    dashscope_server.retry_after = date if header == "in a minute" else header
    with pytest.raises(Failure) as caught:
        await hear(dashscope, "throttle")
    pause = caught.value.retry_after
    assert pause is None if least is None or most is None else pause is not None and least <= pause <= most


@pytest.mark.parametrize("function", [hear, reply])
async def test_the_sdks_own_timeout(dashscope_server: DashScopeServer, function: type) -> None:
    """Were the SDK to lose patience first, that is a timeout as well."""
    backend = DashScope(Secret(KEY), dashscope_server.url, dashscope_server.ws_url, sdk_timeout=0.1)
    with pytest.raises(Failure) as caught:
        await function(backend, "slow")
    assert caught.value.kind == "timeout"
    await backend.close()


async def test_what_a_failure_says(dashscope: DashScope) -> None:
    """A failure has the server's words and its request id."""
    call = Call(model="qwen3-asr-flash@throttle")
    with pytest.raises(Failure) as caught:
        await dashscope.hear(SECOND, call)
    assert caught.value.message == (
        "the server answered 429 Throttling.RateQuota: Requests rate limit exceeded, please try again later."
    )
    assert call.request_id == "refused"
