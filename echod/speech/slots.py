"""How many calls run at once, and whose turn is next."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """At most `total` calls at once: first those that somebody listens for, then batch ones, account by account.

    Batch calls leave a quarter of the slots to the others, unless there is but one.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._kept = min(total - 1, -(-total // 4))
        self._live: deque[asyncio.Future[None]] = deque()
        self._batch: dict[str, deque[asyncio.Future[None]]] = {}  # the account whose turn is next comes first

    async def acquire(self, account: str, *, batch: bool) -> None:
        """Wait for a slot, which is to be given back with `release`."""
        turn = asyncio.get_running_loop().create_future()
        line = self._batch.setdefault(account, deque()) if batch else self._live
        line.append(turn)
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment
                self.release()
            raise

    def release(self) -> None:
        self._free += 1
        self._serve()

    def _serve(self) -> None:
        while self._free and (turn := self._next()):
            self._free -= 1
            turn.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        while self._live:
            if not (turn := self._live.popleft()).cancelled():
                return turn
        while self._batch and self._free > self._kept:
            account = next(iter(self._batch))
            line = self._batch.pop(account)
            turn = line.popleft()
            if line:
                self._batch[account] = line  # behind all others
            if not turn.cancelled():
                return turn
        return None
