from __future__ import annotations

import asyncio

import pytest

from echod.inspection.turns import Turns


class Bench:
    """Work that takes turns and ends when it is told to; `begun` is the order in which it was taken up."""

    def __init__(self, most: int) -> None:
        self.turns = Turns(most)
        self.begun: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def add(self, *names: str) -> None:
        """Work of the account that the name begins with."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._work(name))
        await self.settle()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self.tasks[name]
        await self.settle()

    async def _work(self, name: str) -> None:
        async with self.turns.take(name[0]):
            self.begun.append(name)
            await self._ends[name].wait()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_an_account_with_much_to_inspect() -> None:
    """Of an account one file is inspected at a time, in order; another's is taken up at once."""
    bench = Bench(2)
    await bench.add(*(f"a{n}" for n in range(12)))
    assert bench.begun == ["a0"]
    await bench.add("b0")
    assert bench.begun == ["a0", "b0"]
    await bench.add("b1", "c0")
    await bench.end("a0")
    assert bench.begun == ["a0", "b0", "c0"]  # who never had a turn goes before who just had one
    await bench.end("b0")
    assert bench.begun == ["a0", "b0", "c0", "a1"]
    await bench.end("c0", "b1", "a1")
    assert bench.begun == ["a0", "b0", "c0", "a1", "b1", "a2"]


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_round_robin(most: int) -> None:
    """Accounts with equally much to inspect are served equally, however late one has come."""
    bench = Bench(most)
    await bench.add(*(f"a{n}" for n in range(9)), *(f"b{n}" for n in range(9)), *(f"c{n}" for n in range(9)))
    for place in range(27):
        await bench.end(bench.begun[place])
        counts = [sum(name.startswith(account) for name in bench.begun[: place + 1]) for account in "abc"]
        assert max(counts) - min(counts) <= 1


async def test_leaving() -> None:
    """Whoever gives up, waiting or working, leaves nothing taken; also in the moment in which it gets its turn."""
    bench = Bench(1)
    await bench.add("a0", "b0", "c0", "c1")
    bench.tasks["b0"].cancel()
    bench.tasks["a0"].cancel()  # gives c0 its turn
    await asyncio.sleep(0)
    bench.tasks["c0"].cancel()
    await bench.settle()
    assert bench.begun == ["a0", "c1"]
    await bench.end("c1")
    await bench.add("b1")
    assert bench.begun == ["a0", "c1", "b1"]
    await bench.end("b1")
