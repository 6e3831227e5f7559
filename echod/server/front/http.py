"""HTTP on a connection: what is let through to the app, what becomes a WebSocket, and what is refused.

What can be read in two ways is refused (head.py), and an Upgrade other than to a WebSocket is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
from email.utils import formatdate
from typing import TYPE_CHECKING

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from echod.errors import EchodError, invalid
from echod.server.answers import Refusal
from echod.server.caller import forwards
from echod.server.front.head import target, tokens, values
from echod.server.front.reading import OneByOne
from echod.server.refusals import DISCARD, LINGER, RETRY_AFTER, fault

if TYPE_CHECKING:
    from echod.server.front.connection import Connection
    from echod.server.front.front import Front

HEAD_TIMEOUT = 10.0  # seconds for a request's line and headers to arrive
MAX_UPGRADE_FIELD = 8000  # bytes of the address, or of one header, that asks for a WebSocket; `websockets` reads 8192
MAX_UPGRADE_HEADERS = 128  # likewise


class Http(OneByOne):
    """Has limits on connections and heads, and `abort` in the request's state."""

    _deadline: asyncio.TimerHandle | None = None  # set while a head is awaited
    _discarded = 0  # bytes received after a refusal
    _forwarded = False  # a request on this connection came through a proxy

    def __init__(self, front: Front, connection: Connection) -> None:
        super().__init__(front.config, front.state, front.app_state)
        self.ws_protocol_class = lambda **_: connection  # type: ignore[assignment]
        self._front = front

    @property
    def answering(self) -> bool:
        """Whether an answer has begun."""
        return self.cycle is not None and self.cycle.response_started

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if self._front.closing:
            transport.abort()
        elif len(self._front.transports) > (most := self._front.most_connections):
            self.refuse(EchodError("rate_limited", f"this daemon has {most} connections open, the most it can hold"))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.transports.discard(self.transport)
        self._head_arrived()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn leaves it, and all of us with it, to a client that resets

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._discarded += len(data)
            if self._discarded > DISCARD:
                self.transport.abort()
            return
        self.server_state.default_headers = standard_headers()
        super().data_received(data)

    def head_begins(self) -> None:
        self.scope["state"]["abort"] = self.transport.abort
        if self._deadline is None:
            self._await_head()

    def head_ends(self) -> None:
        self._head_arrived()
        self.url = target(bytes(self._head.partition(b"\r\n")[0]), self.headers)
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False
        self._remember_proxy()

    def _remember_proxy(self) -> None:
        """What a proxy has used once may carry what it was made to send: there all requests came through it."""
        if any(forwards(name.decode("latin-1")) for name, _ in self.headers):
            self._forwarded = True
        elif self._forwarded:
            self.headers.append((b"forwarded", b"for=unknown"))

    # Other protocols

    def upgrade(self) -> None:
        if self._closing:
            return
        if tokens(self.headers, b"upgrade") != [b"websocket"] or self.parser.get_http_version() == "1.0":
            self._pass_over_upgrade()
        elif why := self._against_websocket():
            self.refuse(invalid(why))
        else:
            self.scope["method"] = self.parser.get_method().decode()
            # One of zero is as good as none, but not to `websockets` 15.
            self.headers[:] = [(name, value) for name, value in self.headers if name != b"content-length"]
            self.handle_websocket_upgrade()

    def _pass_over_upgrade(self) -> None:
        """Read the head again as if it asked for the connection's end instead: the parser would read no body after it.

        Whoever stands before us may think that another protocol follows, so that nothing more is read as requests.
        """
        line, _, _ = self._head.partition(b"\r\n")
        kept = [(name, value) for name, value in self.headers if name not in (b"connection", b"upgrade")]
        fields = [name + b": " + value for name, value in (*kept, (b"connection", b"close"))]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([bytes(line), *fields, b"", b""]))

    def _against_websocket(self) -> str | None:
        """Why none is opened; some of it `websockets` would refuse too, but not in the words of every other refusal."""
        if self._ahead:
            return "a WebSocket may be asked for once the request before it is answered"
        if (method := self.parser.get_method()) != b"GET":
            return f"this request opens no WebSocket: it is made with GET, not with {method.decode()}"
        longest = max(len(self.url), *(len(name) + len(value) for name, value in self.headers))
        if longest > MAX_UPGRADE_FIELD:
            return (
                f"a request for a WebSocket may have {MAX_UPGRADE_FIELD} bytes of address and of each header; "
                f"this one has {longest}"
            )
        if len(self.headers) > MAX_UPGRADE_HEADERS:
            return f"a request for a WebSocket may have {MAX_UPGRADE_HEADERS} headers; this one has {len(self.headers)}"
        if values(self.headers, b"transfer-encoding") or any(map(int, values(self.headers, b"content-length"))):
            return "a request for a WebSocket may have no body; this one announces one"
        if self._behind:
            return f"nothing may follow a request for a WebSocket before its answer; {self._behind} bytes did"
        return None

    # Limits and refusals

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def refuse_nonsense(self) -> None:
        self._answer(400, {"content-type": "text/plain; charset=utf-8"}, b"Invalid HTTP request received.")

    def refuse(self, error: EchodError) -> None:
        retry_after = {"retry-after": str(RETRY_AFTER)} if error.status in (429, 503) else {}
        self._answer(error.status, {"content-type": "application/json", **retry_after}, content(error))

    def _answer(self, status: int, headers: dict[str, str], told: bytes) -> None:
        """Answer in the app's stead, and close."""
        if not self._may_answer():
            return
        headers = {**headers, "content-length": str(len(told)), "connection": "close"}
        fields = [*standard_headers(), *((name.encode(), value.encode()) for name, value in headers.items())]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + told)
        self._linger()

    def _linger(self) -> None:
        """Close for the client, and read on for a while: with bytes unread the answer would be lost to a reset."""
        self._refused = True
        self._head_arrived()
        self._deadline = self.loop.call_later(LINGER, self.transport.abort)
        with contextlib.suppress(OSError):  # the client has gone this moment
            self.transport.write_eof()
        self.flow.resume_reading()

    def _may_answer(self) -> bool:
        """Whether nobody has answered what is read now, nor will; else the connection is cut."""
        if self._closing:
            return False
        if self._in_body:  # the app has it
            if self.cycle.response_started:
                self.transport.abort()
                return False
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        return True


def standard_headers() -> list[tuple[bytes, bytes]]:
    return [(b"date", formatdate(usegmt=True).encode()), (b"server", b"echod")]


def content(error: EchodError) -> bytes:
    return msgspec.json.encode(Refusal(fault(error)))
