"""Whose turn it is when there are more calls than slots."""

from __future__ import annotations

import asyncio

import pytest

from echod.speech.slots import Slots


class Queue:
    """Calls that wait for slots, by name: `served` are those that got one, in order."""

    def __init__(self, total: int) -> None:
        self.slots = Slots(total)
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, *, batch: bool = False) -> None:
        """The account is the first letter."""

        async def wait() -> None:
            await self.slots.acquire(name[0], batch=batch)
            self.served.append(name)

        self.tasks[name] = asyncio.create_task(wait())
        await settle()

    async def release(self, times: int = 1) -> None:
        for _ in range(times):
            self.slots.release()
            await settle()


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_live_calls_first() -> None:
    """Whoever is listened for goes before all batch calls, which have waited for longer."""
    queue = Queue(1)
    for name, batch in (("a1", True), ("b1", True), ("c1", False), ("c2", False)):
        await queue.ask(name, batch=batch)
    assert queue.served == ["a1"]
    await queue.release(3)
    assert queue.served == ["a1", "c1", "c2", "b1"]


@pytest.mark.parametrize(("total", "batch"), [(1, 1), (2, 1), (4, 3), (8, 6)])
async def test_room_for_live_calls(total: int, batch: int) -> None:
    """Batch calls leave a quarter of the slots alone, and live ones take all there are."""
    queue = Queue(total)
    for number in range(total):
        await queue.ask(f"a{number}", batch=True)
    assert len(queue.served) == batch
    for number in range(total):
        await queue.ask(f"b{number}")
    assert len(queue.served) == total


async def test_accounts_take_turns() -> None:
    """An account with many texts does not keep the others waiting for all of them."""
    queue = Queue(1)
    for name in ("a1", "a2", "a3", "b1", "c1", "c2"):
        await queue.ask(name, batch=True)
    await queue.release(5)
    assert queue.served == ["a1", "a2", "b1", "c1", "a3", "c2"]


@pytest.mark.parametrize("batch", [False, True])
async def test_who_leaves(batch: bool) -> None:
    """A call that is cancelled while it waits is passed over, and its slot is another's."""
    queue = Queue(1)
    for name in ("a1", "a2", "b1"):
        await queue.ask(name, batch=batch)
    queue.tasks["a2"].cancel()
    await queue.release(2)
    await queue.ask("c1", batch=batch)
    assert queue.served == ["a1", "b1", "c1"]


async def test_who_leaves_when_called() -> None:
    """So is a slot that was given at the moment of leaving."""
    queue = Queue(1)
    for name in ("a1", "a2", "b1"):
        await queue.ask(name)
    queue.slots.release()
    queue.tasks["a2"].cancel()
    await settle()
    assert queue.served == ["a1", "b1"]
