"""HTTP clients for one call at a time.

httpx loses a connection whose call is cancelled in its TLS handshake, and keeps for ever, of no use, one whose call is
cancelled between connecting and asking. So a call has a client for itself, which goes with all it has if the call ends
before its answer begins, and is the next call's otherwise, with its open connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx


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
