from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from echod.conversation.history import Item
from echod.conversation.transcripts import BYTES_PER_SECOND, Tell, Transcripts
from echod.speech.backend import Call, Failure
from tests.drivers.asking import until
from tests.stand_ins.backend import fails, gives
from tests.stand_ins.daemon import Daemon


def said(*names: str) -> list[Item]:
    return [Item(id=name, author="user", spoken=True) for name in names]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def tell(told: list[str]) -> Tell:
    return lambda item, seconds, heard: told.append("completed" if isinstance(heard, str) else "failed")


@pytest.fixture
def hearing(daemon: Daemon, tell: Tell) -> Transcripts:
    hearing = Transcripts(daemon.calls, "local", contextlib.nullcontext)
    hearing.come(tell)
    return hearing


def test_only_so_much_sound(hearing: Transcripts) -> None:
    """Of what is never answered the newest is kept, as much as one turn may last, and the last in any case."""
    items = said(*map(str, range(100)))
    for number, item in enumerate(items):
        hearing.keep(item, bytes([number]) * BYTES_PER_SECOND, 3.0)
    assert hearing.sound_of(items) == b"".join(bytes([number]) * BYTES_PER_SECOND for number in (97, 98, 99))
    [long] = said("long")
    hearing.keep(long, b"x" * 4 * BYTES_PER_SECOND, 3.0)
    assert len(hearing.sound_of([*items, long])) == 4 * BYTES_PER_SECOND


async def test_forgotten(daemon: Daemon, hearing: Transcripts, told: list[str]) -> None:
    """What has left the history is neither heard to its end nor kept; what is answered is heard to its end."""
    go_on = asyncio.Event()

    async def held(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        await go_on.wait()
        yield "yes"

    daemon.backend.attempts = [held, held]
    items = said("gone", "answered")
    for item in items:
        hearing.keep(item, b"12", 1.0)
        hearing.begin(item, b"12", None)
    [gone, answered] = hearing.of(items)
    hearing.forget(items[:1])
    hearing.answered(items[1:])
    assert (hearing.sound_of(items), hearing.of(items)) == (b"", [answered])
    await asyncio.wait([gone])
    go_on.set()
    assert (gone.cancelled(), await answered, told) == (True, "yes", ["failed", "completed"])


async def test_leaving(daemon: Daemon, hearing: Transcripts, told: list[str], tell: Tell) -> None:
    """Nothing is heard while nobody is there, nor what was forgotten a moment before; who is back is heard again."""

    async def never(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        await asyncio.Event().wait()
        yield ""

    daemon.backend.attempts = [never, never]
    items = said("a", "b")
    for item in items:
        hearing.begin(item, b"12", None)
    await daemon.backend.begun.wait()
    hearing.forget(items[:1])
    await hearing.leave(tell)
    assert (daemon.backend.running, told) == (0, [])
    daemon.backend.attempts = [gives("yes")]
    hearing.come(tell)
    [again] = hearing.of(items)
    assert (await again, items[1].text) == ("yes", "yes")
    await until(lambda: told == ["completed"])
    assert hearing.kept == 0


async def test_taken_over(daemon: Daemon, hearing: Transcripts, tell: Tell) -> None:
    """Where somebody else listens already, the one who leaves ends nothing."""
    heard = []
    hearing.come(lambda item, seconds, words: heard.append(words))
    daemon.backend.attempts = [gives("yes")]
    items = said("a")
    hearing.begin(items[0], b"12", None)
    await hearing.leave(tell)
    await until(lambda: heard == ["yes"])


async def test_a_failure_nobody_waits_for(daemon: Daemon, hearing: Transcripts, told: list[str]) -> None:
    """It is told once, and does not come up again as an exception that nobody looked at."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    daemon.backend.attempts = [fails(Failure("auth", "wrong key"))]
    items = said("a")
    hearing.begin(items[0], b"12", None)
    await asyncio.wait(hearing.of(items))
    hearing.answered(items)
    await asyncio.sleep(0)
    assert (told, complaints) == (["failed"], [])
