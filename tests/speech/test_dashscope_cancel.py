"""Calls that are cancelled, at every stage: they end without waiting for anybody and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from echod.host.secret import Secret
from echod.speech.backend import Call, Question, Voice
from echod.speech.dashscope.backend import DashScope
from tests.drivers.dashscope import TASKS, VOICE, captured, comparable
from tests.drivers.leaks import nothing_left
from tests.making.speech import SECOND, words
from tests.stand_ins.dashscope_server import KEY, DashScopeServer
from tests.stand_ins.loopback import HANG

CALLS = 200
AT_ONCE = 20

Coming: TypeAlias = asyncio.Semaphore  # released when a call has come to where it is to be cancelled
Start: TypeAlias = Callable[[DashScope, Coming], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
async def watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[None]:
    """The loop's thread pool does not grow. No temporary file is made, the garbage collector does not help, and
    the loop has nothing to complain of."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gc.disable()
    with ThreadPoolExecutor(1) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        await asyncio.to_thread(int)
        yield
    gc.enable()
    gc.collect()
    logged = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    assert [record for record in logged if record.name == "asyncio"] == []
    assert list(tmp_path.iterdir()) == []


async def hear(backend: DashScope, coming: Coming) -> None:
    await backend.hear(SECOND, Call(model="qwen3-asr-flash@slow"))


async def reply(backend: DashScope, coming: Coming) -> None:
    async for _ in silent_reply(backend, "slow"):
        coming.release()


async def reply_midway(backend: DashScope, coming: Coming) -> None:
    async for _ in silent_reply(backend, "ssestall"):
        coming.release()


async def speak(backend: DashScope, coming: Coming) -> None:
    async for _ in silent_speech(backend, "nostart"):
        coming.release()


async def speak_midway(backend: DashScope, coming: Coming) -> None:
    async for _ in silent_speech(backend, "stall"):
        coming.release()


async def speak_while_text_waits(backend: DashScope, coming: Coming) -> None:
    async for _ in backend.speak(endless_text(), VOICE, Call(model=VOICE.model)):
        coming.release()


def silent_reply(backend: DashScope, failure: str) -> AsyncGenerator[object, None]:
    return backend.reply(Question(text="Who goes there?"), Call(model=f"qwen3.5-omni-flash@{failure}"))


def silent_speech(backend: DashScope, failure: str) -> AsyncGenerator[bytes, None]:
    voice = Voice("dashscope", f"{VOICE.model}@{failure}", VOICE.name)
    return backend.speak(words("Who goes there?"), voice, Call(model=voice.model))


async def endless_text() -> AsyncIterator[str]:
    yield "Hello traveller. I am Echo, keeper of this very old and quiet inn by the northern road."
    await asyncio.Event().wait()


EVERYWHERE = [speak, *(pytest.param(start, marks=pytest.mark.long) for start in (hear, reply))]


async def cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(HANG):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, asyncio.CancelledError) for error in ended), ended


@pytest.mark.parametrize(
    ("start", "frames"),
    [(hear, 1), (reply, 1), (reply_midway, None), (speak, 2), (speak_midway, None), (speak_while_text_waits, None)],
)
async def test_cancelled_calls(
    dashscope: DashScope, dashscope_server: DashScopeServer, start: Start, frames: int | None
) -> None:
    """Two hundred calls leave nothing, cancelled when the server has `frames` of each, or each has something of it."""
    coming = asyncio.Semaphore(0)
    async with nothing_left():
        for begun in range(AT_ONCE, CALLS + 1, AT_ONCE):
            tasks = [asyncio.create_task(start(dashscope, coming)) for _ in range(AT_ONCE)]
            if frames is None:
                for _ in tasks:
                    await coming.acquire()
            else:
                expected = begun * frames
                await dashscope_server.until(partial(_has, dashscope_server, expected))
            await cancel(tasks)
        await dashscope_server.until(lambda: dashscope_server.connections == 0)


def _has(server: DashScopeServer, frames: int) -> bool:
    return len(server.frames) >= frames


@pytest.mark.parametrize("start", EVERYWHERE)
async def test_cancelled_while_connecting(start: Start) -> None:
    """So do calls to a server that does not even accept their connections."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))  # the one that the backlog has room for
        backend = DashScope(Secret(KEY), f"http://127.0.0.1:{port}/v1", f"ws://127.0.0.1:{port}/ws")
        async with nothing_left():
            for _ in range(0, CALLS, AT_ONCE):
                tasks = [asyncio.create_task(start(backend, asyncio.Semaphore(0))) for _ in range(AT_ONCE)]
                while _connecting(port) < AT_ONCE:  # noqa: ASYNC110  # the kernel tells nobody
                    await asyncio.sleep(0)
                await cancel(tasks)
        await backend.close()


def _connecting(port: int) -> int:
    """Sockets that have asked for a connection to the port and have no answer yet."""
    syn_sent, place = "02", f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(place) and row[3] == syn_sent for row in rows)


@pytest.mark.parametrize("start", EVERYWHERE)
async def test_cancelled_in_the_tls_handshake(dashscope_server: DashScopeServer, start: Start) -> None:
    """So do calls to a server that takes connections and is silent about its certificate."""
    address = dashscope_server.address
    backend = DashScope(Secret(KEY), f"https://{address}/v1", f"wss://{address}/ws")
    async with nothing_left():
        for _ in range(0, CALLS, AT_ONCE):
            tasks = [asyncio.create_task(start(backend, asyncio.Semaphore(0))) for _ in range(AT_ONCE)]
            await dashscope_server.until(lambda: dashscope_server.beginning == AT_ONCE)
            await cancel(tasks)
            await dashscope_server.until(lambda: dashscope_server.connections == 0)
    await backend.close()


async def test_cancelled_in_the_handshake(dashscope_server: DashScopeServer) -> None:
    """So do calls whose WebSocket's handshake is not answered."""
    backend = DashScope(Secret(KEY), dashscope_server.url, f"{dashscope_server.ws_url}@silent")
    async with nothing_left():
        for _ in range(0, CALLS, AT_ONCE):
            tasks = [asyncio.create_task(speak(backend, asyncio.Semaphore(0))) for _ in range(AT_ONCE)]
            await dashscope_server.until(lambda: dashscope_server.connections == AT_ONCE)
            await cancel(tasks)
            await dashscope_server.until(lambda: dashscope_server.connections == 0)
    await backend.close()


@pytest.mark.parametrize("start", [hear, reply_midway, speak_midway])
async def test_cancelled_anywhere(dashscope: DashScope, dashscope_server: DashScopeServer, start: Start) -> None:
    """So do calls that are cancelled after one turn of the loop, after two, and so on."""
    async with nothing_left():
        for turns in range(CALLS):
            task = asyncio.create_task(start(dashscope, asyncio.Semaphore(0)))
            for _ in range(turns):
                await asyncio.sleep(0)
            await cancel([task])
        await dashscope_server.until(lambda: dashscope_server.connections == 0)


@pytest.mark.parametrize(("begin", "failure"), [(silent_reply, "ssestall"), (silent_speech, "stall")])
async def test_closed_midway(
    dashscope: DashScope,
    dashscope_server: DashScopeServer,
    begin: Callable[[DashScope, str], AsyncGenerator[Any, None]],
    failure: str,
) -> None:
    """A reply or a speech that is closed after its first piece leaves nothing."""
    async with nothing_left():
        for _ in range(CALLS):
            pieces = begin(dashscope, failure)
            await anext(pieces)
            await pieces.aclose()
        await dashscope_server.until(lambda: dashscope_server.connections == 0)


async def test_a_server_is_told(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """A voice that is cancelled in the midst of its text says so in the captured frames."""
    pieces = dashscope.speak(endless_text(), VOICE, Call(model=VOICE.model))
    await anext(pieces)
    await pieces.aclose()
    await dashscope_server.until(lambda: len(dashscope_server.frames) >= len(captured("cancel")))
    assert comparable(dashscope_server.frames) == captured("cancel")


async def test_a_server_is_told_after_the_text(dashscope: DashScope, dashscope_server: DashScopeServer) -> None:
    """So does one whose text has been sent."""
    pieces = silent_speech(dashscope, "stall")
    await anext(pieces)
    await dashscope_server.until(lambda: len(dashscope_server.frames) == 4)
    await pieces.aclose()
    await dashscope_server.until(lambda: len(dashscope_server.frames) == 5)
    *_, finish, cancelled = dashscope_server.sent(TASKS)
    assert finish["payload"] == {"input": {}}
    assert cancelled["payload"] == {"input": {"directive": "cancel"}}


async def test_a_server_that_does_not_read(dashscope: DashScope) -> None:
    """A server that takes no more text cannot hold a call that is cancelled."""

    async def text() -> AsyncIterator[str]:
        while True:
            yield "la " * 3000
            await asyncio.sleep(0)

    voice = Voice("dashscope", f"{VOICE.model}@deaf", VOICE.name)
    async with asyncio.timeout(HANG):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                async for _ in dashscope.speak(text(), voice, Call(model=voice.model)):
                    pass
