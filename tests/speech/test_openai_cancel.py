"""Calls to the OpenAI-compatible backend that are cancelled, closed or failed: they leave nothing open."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from echod.host.secret import Secret
from echod.sound.pcm import SPEAK_RATE
from echod.speech.backend import Call, Failure, Function, Question, Voice
from echod.speech.openai.backend import OpenAI
from echod.speech.plan import FUNCTIONS
from tests.drivers.leaks import nothing_left
from tests.drivers.openai import HANG, TEXT, use
from tests.making.speech import words
from tests.stand_ins.openai_server import KEY, OpenAIServer


async def cancel(calls: Sequence[asyncio.Task[object]]) -> None:
    """Cancel them all; each ends at once, and by nothing else."""
    for call in calls:
        call.cancel()
    async with asyncio.timeout(HANG):
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, asyncio.CancelledError) for error in ended), ended


@pytest.fixture
def uncollected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The garbage collector, which comes when it likes, is not what lets go; and no temporary file is made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gc.disable()
    yield
    gc.enable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("function", "failure"),
    [("hear", "slow"), ("reply", "slow"), ("reply", "stall"), ("speak", "slow"), ("speak", "stall")],
)
async def test_cancelled_calls_leave_nothing(
    openai: OpenAI, openai_server: OpenAIServer, function: Function, failure: str
) -> None:
    """Two hundred calls cancelled before their answers, or amid them, leave nothing open."""
    async with nothing_left():
        for _ in range(4):
            calls = [asyncio.create_task(use(openai, function, failure)) for _ in range(50)]
            await openai_server.until(lambda: openai_server.waiting == 50)
            await cancel(calls)
            await openai_server.until(lambda: openai_server.connections == 0)


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("function", FUNCTIONS)
async def test_cancelled_while_connecting(openai_server: OpenAIServer, function: Function) -> None:
    """Two hundred calls cancelled in a TLS handshake that the server never answers leave nothing open."""
    backend = OpenAI(openai_server.url.replace("http:", "https:"), Secret(KEY), rate=SPEAK_RATE, sound="none")
    async with nothing_left():
        for _ in range(4):
            calls = [asyncio.create_task(use(backend, function)) for _ in range(50)]
            await openai_server.until(lambda: openai_server.beginning == 50)
            await cancel(calls)
            await openai_server.until(lambda: openai_server.connections == 0)
    await backend.close()


@pytest.mark.usefixtures("uncollected")
async def test_cancelled_while_text_is_awaited(openai: OpenAI) -> None:
    """Two hundred voices cancelled between a sentence that was spoken and the next, still to come, leave nothing."""
    spoken = asyncio.Semaphore(0)

    async def text() -> AsyncIterator[str]:
        yield "Hello there. "
        spoken.release()
        await asyncio.Event().wait()

    async def speak() -> None:
        async for _ in openai.speak(text(), Voice("openai", "model", "alloy"), Call(model="model")):
            pass

    async with nothing_left():
        for _ in range(4):
            calls = [asyncio.create_task(speak()) for _ in range(50)]
            for _ in calls:
                await spoken.acquire()
            await cancel(calls)
        await openai.close()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("function", ["reply", "speak"])
async def test_closed_calls_leave_nothing(openai: OpenAI, openai_server: OpenAIServer, function: Function) -> None:
    """Two hundred calls closed between two pieces leave nothing open."""
    call, voice = Call(model="model@stall"), Voice("openai", "model@stall", "alloy")
    async with nothing_left():
        for _ in range(200):
            spoken, said = openai.speak(words(TEXT), voice, call), openai.reply(Question(text=TEXT), call)
            async with aclosing(spoken), aclosing(said):
                assert await anext(spoken if function == "speak" else said)
        await openai_server.until(lambda: openai_server.connections == 0)


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("function", FUNCTIONS)
async def test_failed_calls_leave_nothing(openai: OpenAI, function: Function) -> None:
    """Failures let go of everything too."""
    async with nothing_left():
        for failure in ["drop", "abort", "nothttp", "html", "500"] * 10:
            with suppress(Failure):
                await use(openai, function, failure)
        await openai.close()
