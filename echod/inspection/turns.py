"""Who is inspected next: accounts in turn, oldest file first within one, and one file of an account at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `most` are taken at once, and one by each account: with two, nobody ever waits for one other alone."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._taken: set[str] = set()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # in front who was served the longest ago

    @asynccontextmanager
    async def take(self, account: str) -> AsyncIterator[None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(turn)
        self._wake()
        try:
            await asyncio.shield(turn)  # so that a turn is given or it is not, whoever is cancelled in between
            yield
        finally:
            if turn.done():
                self._give_back(account)
            else:
                self._leave(account, turn)

    def _wake(self) -> None:
        for account in [each for each in self._waiting if each not in self._taken][: self._free]:
            turn = self._waiting[account][0]
            self._leave(account, turn)
            self._free -= 1
            self._taken.add(account)
            turn.set_result(None)

    def _give_back(self, account: str) -> None:
        self._free += 1
        self._taken.remove(account)
        if account in self._waiting:
            self._waiting[account] = self._waiting.pop(account)  # to the end
        self._wake()

    def _leave(self, account: str, turn: asyncio.Future[None]) -> None:
        self._waiting[account].remove(turn)
        if not self._waiting[account]:
            del self._waiting[account]
