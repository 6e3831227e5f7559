"""One connection of a client: HTTP until it upgrades, then a WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import SplitResult

from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from websockets.asyncio.server import ServerConnection

from echod.server.accounts import Address, Caller
from echod.server.http import Http

if TYPE_CHECKING:
    from echod.server.front import Front

MAX_UNREAD = 1 << 20  # bytes that a client may have us answer without reading the answers


class Connection(ServerConnection):
    """A connection of the `websockets` server: HTTP until the client upgrades, then a WebSocket of `caller`."""

    front: Front
    caller: Caller
    target: SplitResult  # of the request that upgraded
    addresses: tuple[Address | None, Address | None]  # this end's and the client's; the socket of one who left has none
    lent = False
    _unread = 0  # bytes written in answer to pings since the client had last read everything

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self.lent:  # handed back by uvicorn: the client upgrades
            super().connection_made(transport)
            return
        self.lent = True
        self.addresses = get_local_addr(transport), get_remote_addr(transport)
        self.front.transports.add(transport)
        protocol = Http(self.front, self)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """What handlers send waits for the client; the answers of `websockets` itself, such as pongs, do not."""
        waiting = self.transport.get_write_buffer_size()
        super().data_received(data)
        grown = self.transport.get_write_buffer_size() - waiting
        self._unread = self._unread + grown if waiting else grown
        if self._unread > MAX_UNREAD:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.transports.discard(self.transport)
        super().connection_lost(exc)
