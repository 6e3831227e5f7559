"""Reads what comes on a connection one request at a time, each to its end and no further.

Who reads a request otherwise than the proxy before it can be made to see a second one in it. The parser, httptools,
would go on into whatever is sent behind a request before that is answered; it takes trailers for headers; and it passes
over empty lines, so that what comes between two requests would be nobody's.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from echod.errors import EchodError, invalid
from echod.server.front.head import values

MAX_HEAD = 64 * 1024  # bytes of a request's line and headers, or of what else is no body: framing, trailers
MAX_AHEAD = 64 * 1024  # bytes that may wait until the request before them is answered

EMPTY_LINE = b"\r\n\r\n"
END_OF_CHUNKS = re.compile(rb"[^\n]\r\n\r\n")
TOO_LONG = f"the address and headers of a request may have {MAX_HEAD} bytes; this one has more"


class OneByOne(HttpToolsProtocol, ABC):
    """uvicorn's HTTP protocol, which is given the next request when the one before it is answered."""

    _waiting = b""  # received, and not given to the parser yet
    _behind = 0  # bytes received behind what the parser has
    _ahead = False  # what is read now was sent before the request before it was answered
    _deaf = False  # nothing more is read
    _refused = False  # answered in the app's stead: the connection ends
    _begun = False  # a request has begun, and not ended
    _in_head = False  # and its head has not been read to the end
    _left: int | None = None  # bytes of its body that are still to come; None: it has no length, and comes in chunks
    _end_of_body = b""  # up to five bytes
    _framing = 0  # bytes of this request that were not of its body, since its beginning or its last chunk

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._head = bytearray()  # of this request, as far as it has come

    @abstractmethod
    def head_begins(self) -> None: ...

    @abstractmethod
    def head_ends(self) -> None:
        """Raises EchodError for one that is refused."""

    @abstractmethod
    def upgrade(self) -> None:
        """The head asks for another protocol: it is in `headers`, and the parser has stopped behind it."""

    @abstractmethod
    def refuse(self, error: EchodError) -> None:
        """Answer, if it is not too late for that, and close."""

    @abstractmethod
    def refuse_nonsense(self) -> None:
        """The same, for what is no HTTP."""

    @property
    def _closing(self) -> bool:
        return self._refused or self.transport.is_closing()

    @property
    def _due(self) -> bool:
        """Whether a request has been read, and is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete and not self._begun

    @property
    def _in_body(self) -> bool:
        return self._begun and not self._in_head

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
        data, begin = memoryview(self._waiting), 0
        while begin < len(data) and not (self._due or self._deaf or self._closing):
            end = self._end(begin)
            assert begin < end
            self._behind = len(data) - end
            self._feed(data[begin:end])
            begin = end
        self._waiting = self._waiting[begin:]
        if self._waiting and not self._closing:
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
            self.refuse(invalid(TOO_LONG))

    def _feed_head(self, piece: memoryview) -> None:
        self._head += piece
        if self._head[0] in b"\r\n":  # the parser would pass over empty lines
            self.refuse_nonsense()
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
                self.upgrade()
        except httptools.HttpParserError:
            if self._due:  # it is behind a body
                self._stop_reading()
            else:
                self.refuse_nonsense()

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
        self.head_begins()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are no headers
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        if self._deaf or self._closing:
            return
        try:
            if len(self._head) > MAX_HEAD:
                raise invalid(TOO_LONG)
            self.head_ends()
        except EchodError as error:
            self.refuse(error)
            return
        if self.parser.should_upgrade():  # and stops here
            return
        super().on_headers_complete()
        self._in_head = False
        lengths = values(self.headers, b"content-length")
        self._left = int(lengths[0]) if lengths else None
        self._end_of_body = b""

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        if not (self._deaf or self._closing):
            super().on_body(body)
            if self.cycle.body and not self.cycle.response_complete:
                self.flow.pause_reading()  # uvicorn would read on up to 64 KiB; whoever wants more resumes it

    def on_chunk_complete(self) -> None:
        self._framing = 0

    def on_message_complete(self) -> None:
        if self._deaf or self.parser.should_upgrade() or self._closing:
            return
        self._begun = self._ahead = False
        self._head.clear()
        self._left = None
        self._framing = 0
        super().on_message_complete()
