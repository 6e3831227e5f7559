"""One connection of a client: HTTP until it upgrades, then a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event, State

from echod.server.budget import Messages
from echod.server.caller import Address, Caller
from echod.server.front.http import Http

if TYPE_CHECKING:
    from echod.server.front.front import Front

MAX_UNREAD = 1 << 20  # bytes that a client may have us answer without reading the answers
MAX_FRAGMENTS = 1024  # of one message; each takes a few hundred bytes, also an empty one
READ_SIZE = 32 * 1024  # bytes of requests taken in at once, and
FRAMES_SIZE = 16 * 1024  # of frames: some 2,700 of the smallest, in 10 ms


class Connection(ServerConnection):
    """A connection of the `websockets` server: HTTP until the client upgrades, then a WebSocket of `caller`."""

    front: Front
    caller: Caller
    target: SplitResult  # of the request that upgraded, and
    host: str | None  # whom it named
    addresses: tuple[Address | None, Address | None]  # this end's and the client's; the socket of one who left has none
    lent = False
    _unread = 0  # bytes written in answer to pings since the client had last read everything
    _fragments = 0  # of a message on its way
    messages: Messages | None = None  # where they may be large

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self.lent:  # handed back by uvicorn: the client upgrades
            vars(transport)["max_size"] = FRAMES_SIZE
            super().connection_made(transport)
            return
        self.lent = True
        vars(transport)["max_size"] = READ_SIZE  # asyncio's own is four times as large
        self.addresses = get_local_addr(transport), get_remote_addr(transport)
        self.front.transports.add(transport)
        protocol = Http(self.front, self)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    async def handshake(self, *args: Any, **options: Any) -> None:
        # Who has left meanwhile, or was told what is wrong: `websockets` 16 would log an error.
        with contextlib.suppress(ConnectionClosed, InvalidHandshake):
            await super().handshake(*args, **options)

    def data_received(self, data: bytes) -> None:
        """What handlers send waits for the client; the answers of `websockets` itself, such as pongs, do not."""
        if self.request is not None and self.state is State.CONNECTING:  # the client did not wait for an answer
            self.transport.abort()
            return
        waiting = self.transport.get_write_buffer_size()
        if self.messages is not None:
            self.messages.come(len(data))
        super().data_received(data)
        if self.messages is not None and not self.messages.fit():
            self.messages = None
            self._fail(CloseCode.TRY_AGAIN_LATER, "too much is under way at once (setting receive_memory)")
        grown = self.transport.get_write_buffer_size() - waiting
        self._unread = self._unread + grown if waiting else grown
        if self._unread > MAX_UNREAD:
            self.transport.abort()

    def take_messages(self, size: int) -> None:
        """From now on those of at most so many bytes."""
        limit = "max_message_size" if hasattr(self.protocol, "max_message_size") else "max_size"  # `websockets` 15
        setattr(self.protocol, limit, size)

    def acted_on(self) -> None:
        """The oldest message is done with."""
        if self.messages is not None:
            self.messages.acted_on()
            self.messages.fit()

    def process_event(self, event: Event) -> None:
        """Bounds fragments: `websockets` has no limit in some versions, and another one in others."""
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if self.messages is not None:
                self.messages.frame(len(event.data), event.fin)
            self._fragments = 0 if event.fin else self._fragments + 1
            if self._fragments > MAX_FRAGMENTS:
                self._fail(CloseCode.MESSAGE_TOO_BIG, f"a message may have {MAX_FRAGMENTS} fragments")
                return
        super().process_event(event)

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Close, and throw away whatever else the client sends."""
        self.protocol.fail(code, reason)
        self.send_data()

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.transports.discard(self.transport)
        super().connection_lost(exc)
