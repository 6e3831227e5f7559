"""The child with the models, the daemon's side."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from pathlib import Path

import pytest

from echod.speech.backend import Call, Failure
from echod.speech.local import models as local_models
from echod.speech.local.messages import Reply
from echod.speech.local.models import Models
from tests.drivers.leaks import HANG, nothing_left
from tests.stand_ins.tiny_chat import write_chat_model


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    models = Models()
    yield models
    await models.close()


async def answer(models: Models, work: Reply) -> str:
    async with aclosing(models.ask(work, Call(model="chat"))) as pieces:
        return "".join([piece async for piece in pieces])


@pytest.mark.long
async def test_many_at_once(models: Models, tmp_path: Path) -> None:
    """Fifty calls at once share a child, and each gets its own answer."""
    hello, bye = (
        Reply(write_chat_model(tmp_path / word, [word, "you"]), messages=[{"role": "user", "content": "hi"}])
        for word in ("hello", "bye")
    )
    answers = await asyncio.gather(*(answer(models, work) for work in [hello] * 25 + [bye] * 25))
    assert answers == ["hello you"] * 25 + ["bye you"] * 25


async def test_cancelled(models: Models, tmp_path: Path) -> None:
    """Two hundred calls, cancelled before their first word or closed after it, leave nothing behind, and the child."""
    chat = write_chat_model(tmp_path / "chat", ["on", "and"], endless=True)
    endless = Reply(chat, messages=[{"role": "user", "content": "hi"}])
    await models.load(Reply(chat))
    child = models.pid
    async with nothing_left():
        for count in range(100):
            asking = asyncio.create_task(answer(models, endless))
            for _ in range(count % 5):
                await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        for _ in range(100):
            async with aclosing(models.ask(endless, Call(model="chat"))) as pieces:
                assert await anext(pieces) == "on"
    assert models.pid == child


async def test_cancelled_while_starting(tmp_path: Path) -> None:
    """A child whose start nobody awaits any more is gone, or there for the next call."""
    work = Reply(tmp_path / "nothing")
    async with nothing_left():
        for count in range(20):
            models = Models()
            loading = asyncio.create_task(models.load(work))
            for _ in range(count):
                await asyncio.sleep(0)
            loading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loading
            await models.close()


@pytest.mark.parametrize(("device", "visible"), [("cpu", ""), ("cuda:1", "6"), ("MIG-a", "MIG-a")])
async def test_the_card_it_sees(monkeypatch: pytest.MonkeyPatch, device: str, visible: str) -> None:
    """The child sees the one card that is named for it, and by default none: all of them belong to workers."""

    async def start(*command: str, environment: Mapping[str, str]) -> Process:
        raise Failure("missing", environment["CUDA_VISIBLE_DEVICES"])

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setattr(local_models, "start", start)
    with pytest.raises(Failure) as told:
        await Models(device=device).load(Reply(Path("chat")))
    assert told.value.message == visible


async def test_loaded_once(models: Models, tmp_path: Path) -> None:
    """What a child has loaded is not loaded again; a child that died is replaced, and has loaded nothing."""
    chat = Reply(write_chat_model(tmp_path / "chat", ["hello"]))
    await models.load(chat)
    first = models.pid
    assert first
    os.kill(first, signal.SIGSTOP)  # now it answers nobody
    async with asyncio.timeout(HANG):
        await models.load(chat)
    await killed(models, models.load(Reply(tmp_path / "another")))

    await killed(models, models.load(chat))
    assert models.pid is None


async def killed(models: Models, asking: Coroutine[None, None, None]) -> None:
    """When the child is killed, what it was asked fails."""
    call = asyncio.create_task(asking)
    async with asyncio.timeout(HANG):
        while models.pid is None:  # noqa: ASYNC110  (nobody is told of a start)
            await asyncio.sleep(0.01)
    os.kill(models.pid, signal.SIGKILL)
    with pytest.raises(Failure, match="ended") as failure:
        await call
    assert failure.value.kind == "unavailable"


@pytest.mark.long
async def test_at_rest(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not been asked for long gives its memory back, and is there again when it is."""
    monkeypatch.setattr(local_models, "IDLE", 0.0)
    nothing = Reply(tmp_path / "nothing")
    children = []
    for _ in range(2):
        with pytest.raises(Failure, match="no chat model"):
            await models.load(nothing)
        child = models._child
        assert child
        async with asyncio.timeout(HANG):
            await child.wait()
        children.append(child.pid)
    assert len(set(children)) == 2


async def test_closed(models: Models, tmp_path: Path) -> None:
    """Closing ends the child and what it was asked; nothing is started after that."""
    async with nothing_left():
        asking = asyncio.create_task(answer(models, Reply(tmp_path)))
        await asyncio.sleep(0)
        await models.close()
        with pytest.raises(Failure, match="ended"):
            await asking
        with pytest.raises(Failure, match="stopping"):
            await models.load(Reply(tmp_path))
