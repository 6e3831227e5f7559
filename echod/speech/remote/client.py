"""HTTP clients for one call at a time.

httpx loses a connection whose call is cancelled in its TLS handshake, and keeps for ever, of no use, one whose call is
cancelled between connecting and asking. So a call has a client for itself, which goes with all it has if the call ends
before its answer begins, and is the next call's otherwise, with its open connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import httpx

C = TypeVar("C", bound="OneCall")
T = TypeVar("T")


class OneCall:
    """An httpx client that can let go of everything. `options` are those of httpx.AsyncClient."""

    def __init__(self, **options: Any) -> None:
        self.http = httpx.AsyncClient(event_hooks={"request": [self._watch]}, **options)
        self._socket: Any = None

    async def let_go(self) -> None:
        await self.http.aclose()
        if self._socket is not None:
            await self._socket.aclose()

    async def _watch(self, request: httpx.Request) -> None:
        request.extensions["trace"] = self._note

    async def _note(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            self._socket = info["return_value"]


class Clients(Generic[C]):
    """`make` makes one more where all of them are in use; some may be `ready`."""

    def __init__(self, make: Callable[[], C], *ready: C) -> None:
        self._make = make
        self._idle = list(ready)

    @asynccontextmanager
    async def asked(self, ask: Callable[[C], Awaitable[T]]) -> AsyncIterator[T]:
        """The answer, which may still be on its way when it has begun."""
        client = self._idle.pop() if self._idle else self._make()
        try:
            answer = await ask(client)
        except BaseException:
            await client.let_go()
            raise
        try:
            yield answer
        finally:
            self._idle.append(client)

    async def close(self) -> None:
        for client in self._idle:
            await client.let_go()
