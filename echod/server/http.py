"""HTTP on a connection: uvicorn's protocol, with limits on what it leaves unlimited."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from echod.errors import EchodError
from echod.server.refusals import RETRY_AFTER, body

if TYPE_CHECKING:
    from echod.server.connection import Connection
    from echod.server.front import Front

HEAD_TIMEOUT = 10.0  # seconds for a request's line and headers to arrive
MAX_HEAD = 64 * 1024  # bytes of them, or of whatever else of a request is no body: framing, trailers
MAX_PIPELINE = 32  # requests that may wait until the ones before them are answered
MAX_UPGRADE_FIELD = 8000  # bytes of the address, or of one header, that asks for a WebSocket; `websockets` reads 8192
MAX_UPGRADE_HEADERS = 128  # likewise

TOO_LONG = f"the address and headers of a request may have {MAX_HEAD} bytes; this one has more"


class Http(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits on the head of a request, and `abort` in the request's state."""

    _deadline: asyncio.TimerHandle | None = None  # set while a head is awaited
    _head_size = 0  # bytes of this request that were not of its body, since its beginning or its last chunk

    def __init__(self, front: Front, connection: Connection) -> None:
        super().__init__(front.config, front.state, front.app_state)
        self.ws_protocol_class = lambda **_: connection  # type: ignore[assignment]
        self._front = front

    @property
    def answering(self) -> bool:
        """Whether an answer has begun."""
        return self.cycle is not None and (bool(self.pipeline) or self.cycle.response_started)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._front.closing:
            transport.abort()
        elif len(self._front.transports) > (most := self._front.most_connections):
            self._refuse(EchodError("rate_limited", f"this daemon has {most} connections open, the most it can hold"))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.transports.discard(self.transport)
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.server_state.default_headers = standard_headers()
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        self._head_size += len(data)
        super().data_received(data)
        if self._head_size > MAX_HEAD and not self.transport.is_closing():
            self._refuse_head(TOO_LONG)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["abort"] = self.transport.abort

    def on_headers_complete(self) -> None:
        self._head_arrived()
        if self.transport.is_closing():
            return
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD:
            self._refuse_head(TOO_LONG)
            return
        if why := self._against_upgrade():
            self._refuse_head(why)
            return
        super().on_headers_complete()
        # uvicorn stops reading while one waits, but reads on after every answer and for whoever wants a body.
        if len(self.pipeline) > MAX_PIPELINE:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._head_size -= len(body)
        if not self.transport.is_closing():
            super().on_body(body)

    def on_chunk_complete(self) -> None:
        self._head_size = 0

    def on_message_complete(self) -> None:
        self._head_size = 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if not self.transport.is_closing():
            super().handle_websocket_upgrade()

    def _against_upgrade(self) -> str | None:
        """What `websockets` would refuse, to be told in the words of every other refusal."""
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            return None
        longest = max(len(self.url), *(len(name) + len(value) for name, value in self.headers))
        if longest > MAX_UPGRADE_FIELD:
            return (
                f"a request for a WebSocket may have {MAX_UPGRADE_FIELD} bytes of address and of each header; "
                f"this one has {longest}"
            )
        if len(self.headers) > MAX_UPGRADE_HEADERS:
            return f"a request for a WebSocket may have {MAX_UPGRADE_HEADERS} headers; this one has {len(self.headers)}"
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in self.headers
        ):
            return "a request for a WebSocket may have no body; this one announces one"
        return None

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse_head(self, message: str) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(EchodError("invalid_request", message))
        else:  # an answer is due before that
            self.transport.abort()

    def _refuse(self, error: EchodError) -> None:
        """Answer in the app's stead, and close."""
        told = content(error)
        headers = {"content-type": "application/json", "content-length": str(len(told)), "connection": "close"}
        if error.status in (429, 503):
            headers["retry-after"] = str(RETRY_AFTER)
        fields = [*standard_headers(), *((name.encode(), value.encode()) for name, value in headers.items())]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + told)
        self.transport.close()


def standard_headers() -> list[tuple[bytes, bytes]]:
    return [(b"date", formatdate(usegmt=True).encode()), (b"server", b"echod")]


def content(error: EchodError) -> bytes:
    return msgspec.json.encode(body(error))
