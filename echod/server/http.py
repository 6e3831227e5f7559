"""HTTP on a connection: uvicorn's protocol, fed one request at a time, with limits on what it leaves unlimited.

Who reads a request otherwise than the proxy before it can be made to see a second one in it. So what can be read in two
ways is refused (head.py), an Upgrade other than to a WebSocket is passed over and ends the connection, and what is sent
behind a request is not looked at until that is answered.
"""

from __future__ import annotations

import asyncio
import re
from email.utils import formatdate
from typing import TYPE_CHECKING

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from echod.errors import EchodError
from echod.server.accounts import forwards
from echod.server.head import target, tokens, values
from echod.server.refusals import RETRY_AFTER, body, invalid

if TYPE_CHECKING:
    from echod.server.connection import Connection
    from echod.server.front import Front

HEAD_TIMEOUT = 10.0  # seconds for a request's line and headers to arrive
MAX_HEAD = 64 * 1024  # bytes of them, or of whatever else of a request is no body: framing, trailers
MAX_AHEAD = 64 * 1024  # bytes that may wait until the request before them is answered
MAX_UPGRADE_FIELD = 8000  # bytes of the address, or of one header, that asks for a WebSocket; `websockets` reads 8192
MAX_UPGRADE_HEADERS = 128  # likewise

EMPTY_LINE = b"\r\n\r\n"
END_OF_CHUNKS = re.compile(rb"[^\n]\r\n\r\n")
TOO_LONG = f"the address and headers of a request may have {MAX_HEAD} bytes; this one has more"


class Http(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits on the head of a request, and `abort` in the request's state."""

    _deadline: asyncio.TimerHandle | None = None  # set while a head is awaited
    _forwarded = False  # a request on this connection came through a proxy
    _waiting = b""  # received, and not given to the parser yet
    _behind = 0  # bytes received behind what the parser has
    _ahead = False  # what is read now was sent before the request before it was answered
    _deaf = False  # nothing more is read
    _begun = False  # a request has begun, and not ended
    _in_head = False  # and its head has not been read to the end
    _left: int | None = None  # bytes of its body that are still to come; None: it has no length, and comes in chunks
    _end_of_body = b""  # up to five bytes
    _framing = 0  # bytes of this request that were not of its body, since its beginning or its last chunk

    def __init__(self, front: Front, connection: Connection) -> None:
        super().__init__(front.config, front.state, front.app_state)
        self.ws_protocol_class = lambda **_: connection  # type: ignore[assignment]
        self._front = front
        self._head = bytearray()  # of this request, as far as it has come

    @property
    def answering(self) -> bool:
        """Whether an answer has begun."""
        return self.cycle is not None and self.cycle.response_started

    @property
    def _due(self) -> bool:
        """Whether a request has been read, and is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete and not self._begun

    @property
    def _in_body(self) -> bool:
        return self._begun and not self._in_head

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
        self._unset_keepalive_if_required()  # uvicorn leaves it, and all of us with it, to a client that resets

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._waiting += data
        self._read()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._waiting:
            self._unset_keepalive_if_required()
            self._read()

    def _read(self) -> None:
        """Give the parser what has come, up to the end of a request whose answer is due."""
        self.server_state.default_headers = standard_headers()
        data, begin = memoryview(self._waiting), 0
        while begin < len(data) and not (self._due or self._deaf or self.transport.is_closing()):
            end = self._end(begin)
            self._behind = len(data) - end
            self._feed(data[begin:end])
            begin = end
        self._waiting = self._waiting[begin:]
        if self._waiting and not self.transport.is_closing():
            self._ahead = True
            if len(self._waiting) > MAX_AHEAD:
                self.transport.abort()

    def _end(self, begin: int) -> int:
        """How far the parser may read. It tells that a request has ended, but not where in a piece that was."""
        if self._in_body:
            return len(self._waiting) if self._left is None else min(begin + self._left, len(self._waiting))
        seam = self._head[-3:] + self._waiting[begin : begin + 3]
        if EMPTY_LINE in seam:
            return begin + seam.index(EMPTY_LINE) + len(EMPTY_LINE) - len(self._head[-3:])
        found = self._waiting.find(EMPTY_LINE, begin)
        return len(self._waiting) if found < 0 else found + len(EMPTY_LINE)

    def _feed(self, piece: memoryview) -> None:
        self._framing += len(piece)
        if not self._in_body:
            self._feed_head(piece)
        elif self._left is None:
            self._feed_chunks(piece)
        else:
            self._left -= len(piece)
            self._parse(piece)
        if self._framing > MAX_HEAD:
            self._refuse(invalid(TOO_LONG))

    def _feed_head(self, piece: memoryview) -> None:
        self._head += piece
        if self._head[0] in b"\r\n":  # the parser would pass over empty lines
            self._refuse_nonsense()
        else:
            self._parse(piece)

    def _feed_chunks(self, piece: memoryview) -> None:
        """Where the body ends is known if it is where the piece ends; what else comes with it is not looked at."""
        self._end_of_body = (self._end_of_body + bytes(piece[-5:]))[-5:]
        self._parse(piece)
        if self._deaf or not (self._begun or END_OF_CHUNKS.fullmatch(self._end_of_body)):
            self._stop_reading()

    def _parse(self, piece: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            if not self._deaf:
                self._upgrade()
        except httptools.HttpParserError:
            if self._due:  # it is behind a body
                self._stop_reading()
            else:
                self._refuse_nonsense()

    def _stop_reading(self) -> None:
        """The answer that is due is the last one."""
        self._deaf = True
        self.cycle.keep_alive = False
        if self.cycle.response_complete:
            self.transport.close()

    def on_message_begin(self) -> None:
        if not self._head:  # this is in a piece that was for the body before it
            self._deaf = True
            return
        super().on_message_begin()
        self._begun = self._in_head = True
        self.scope["state"]["abort"] = self.transport.abort
        if self._deadline is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are no headers
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        self._head_arrived()
        if self._deaf or self.transport.is_closing():
            return
        try:
            self._check_head()
        except EchodError as error:
            self._refuse(error)
            return
        self._remember_proxy()
        if self.parser.should_upgrade():  # and stops here
            return
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False
        super().on_headers_complete()
        self._in_head = False
        lengths = values(self.headers, b"content-length")
        self._left = int(lengths[0]) if lengths else None
        self._end_of_body = b""

    def _check_head(self) -> None:
        if len(self._head) > MAX_HEAD:
            raise invalid(TOO_LONG)
        self.url = target(bytes(self._head.partition(b"\r\n")[0]), self.headers)

    def _remember_proxy(self) -> None:
        """What a proxy has used once may carry what it was made to send: there all requests came through it."""
        if any(forwards(name.decode("latin-1")) for name, _ in self.headers):
            self._forwarded = True
        elif self._forwarded:
            self.headers.append((b"forwarded", b"for=unknown"))

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        if not (self._deaf or self.transport.is_closing()):
            super().on_body(body)
            if self.cycle.body and not self.cycle.response_complete:
                self.flow.pause_reading()  # uvicorn would read on up to 64 KiB; whoever wants more resumes it

    def on_chunk_complete(self) -> None:
        self._framing = 0

    def on_message_complete(self) -> None:
        if self._deaf or self.parser.should_upgrade() or self.transport.is_closing():
            return
        self._begun = self._ahead = False
        self._head.clear()
        self._left = None
        self._framing = 0
        super().on_message_complete()

    # Other protocols

    def _upgrade(self) -> None:
        if self.transport.is_closing():
            return
        if tokens(self.headers, b"upgrade") != [b"websocket"] or self.parser.get_http_version() == "1.0":
            self._pass_over_upgrade()
        elif why := self._against_websocket():
            self._refuse(invalid(why))
        else:
            self._open_websocket()

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

    def _open_websocket(self) -> None:
        self.scope["method"] = self.parser.get_method().decode()
        self.handle_websocket_upgrade()

    # Limits and refusals

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse_nonsense(self) -> None:
        """What is no HTTP."""
        if self._may_answer():
            self.send_400_response("Invalid HTTP request received.")

    def _refuse(self, error: EchodError) -> None:
        """Answer in the app's stead, and close."""
        if not self._may_answer():
            return
        told = content(error)
        headers = {"content-type": "application/json", "content-length": str(len(told)), "connection": "close"}
        if error.status in (429, 503):
            headers["retry-after"] = str(RETRY_AFTER)
        fields = [*standard_headers(), *((name.encode(), value.encode()) for name, value in headers.items())]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + told)
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether nobody has answered what is read now, nor will; else the connection is cut."""
        if self.transport.is_closing():
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
    return msgspec.json.encode(body(error))
