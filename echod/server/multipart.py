"""Multipart forms read as they arrive (RFC 7578): a part's bytes are handed on before the next ones are received."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, TypeAlias

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from echod.errors import EchodError, invalid
from echod.server.budget import Share
from echod.server.refusals import blaming
from echod.uploads.store import FileStore, Receiving

MAX_PARTS = 64
MAX_FIELD = 64 * 1024  # bytes of a part that is no file
MAX_HEADERS = 8  # of a part; RFC 7578 knows three
MAX_HEADER = 4096  # bytes of each
MAX_KIND = 1000  # bytes of the Content-Type; what finds the boundary takes a time that grows with their square
SLICE = 16 * 1024  # bytes parsed at once: a few hundred of the smallest parts


class Part:
    """One field of a form. Read it with `chunks` or `text` before asking for the next part."""

    def __init__(self, name: str, filename: str | None, events: AsyncIterator[PartEvent], share: Share) -> None:
        self.name = name
        self.filename = filename
        self._events = events
        self._share = share

    async def chunks(self) -> AsyncIterator[bytes]:
        async for event in self._events:
            if not isinstance(event, bytes):
                return
            yield event

    async def text(self) -> str:
        value = b""
        async for chunk in self.chunks():
            self._share.add(len(chunk))
            value += chunk
            if len(value) > MAX_FIELD:
                raise invalid(f"field {self.name!r} is longer than {MAX_FIELD} bytes", self.name)
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise invalid(f"field {self.name!r} is not UTF-8 text", self.name) from None


class Upload(NamedTuple):
    """A file that came inside the form, not inspected yet."""

    filename: str
    receiving: Receiving


# A part's headers, then its bytes, then None for its end.
Headers: TypeAlias = dict[bytes, bytes]
PartEvent: TypeAlias = Headers | bytes | None


async def parts(request: Request) -> AsyncGenerator[Part, None]:
    """The parts of a multipart request in order. EchodError invalid_request if it is malformed or cut short."""
    events = _events(request, _boundary(request.headers.get("content-type", "")))
    count = 0
    async for event in events:
        if not isinstance(event, dict):  # what the reader of the last part left unread
            continue
        count += 1
        if count > MAX_PARTS:
            raise invalid(f"the form has more than {MAX_PARTS} parts")
        yield _part(event, events, request.scope["state"]["share"])


async def read_form(
    request: Request,
    store: FileStore,
    account: str,
    stack: AsyncExitStack,
    files: Collection[str],
    misplaced: Callable[[Part], EchodError],
) -> tuple[dict[str, Any], dict[str, Upload]]:
    """The fields, and the files named in `files`, one each, for as long as the stack; any other part is `misplaced`."""
    fields: dict[str, Any] = {}
    uploads: dict[str, Upload] = {}
    async for part in parts(request):
        if (part.filename is None) == (part.name in files) or part.name in uploads:
            raise misplaced(part)
        if part.filename is None:
            nest(part.name, await part.text(), fields)
            continue
        receiving = await stack.enter_async_context(store.receive(account))
        uploads[part.name] = Upload(part.filename, receiving)
        await save(part, receiving)
    return fields, uploads


async def save(part: Part, receiving: Receiving) -> None:
    with blaming(part.name):
        async for chunk in part.chunks():
            await receiving.write(chunk)


def nest(name: str, value: str, into: dict[str, Any]) -> None:
    """Put a form field where JSON would have it: `metadata[key]` under "key" in the object "metadata"."""
    match = re.fullmatch(r"([^\[\]]+)\[([^\[\]]*)\]", name)
    place, key = (into.setdefault(match[1], {}), match[2]) if match else (into, name)
    if not isinstance(place, dict) or key in place:
        raise invalid(f"field {name!r} is given more than once", name)
    place[key] = value


def _boundary(content_type: str) -> bytes:
    if len(content_type) > MAX_KIND:
        raise invalid(f"the Content-Type has {len(content_type)} characters; at most {MAX_KIND} are read")
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise invalid("the body must be multipart/form-data, and its Content-Type must name the boundary")
    return boundary


def _part(headers: Headers, events: AsyncIterator[PartEvent], share: Share) -> Part:
    _, options = parse_options_header(headers.get(b"content-disposition", b""))
    if b"name" not in options:
        raise invalid("a part of the form has no name")
    filename = options.get(b"filename")
    return Part(
        options[b"name"].decode(errors="replace"),
        None if filename is None else filename.decode(errors="replace"),
        events,
        share,
    )


async def _events(request: Request, boundary: bytes) -> AsyncGenerator[PartEvent, None]:
    collector = _Collector()
    try:
        parser = MultipartParser(
            boundary,
            collector.callbacks(),  # type: ignore[arg-type]
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER,
        )
        async for piece in _pieces(request):
            parser.write(piece)
            del piece
            while collector.events:
                yield collector.events.popleft()
    except FormParserError as error:
        allowed = f"; a part may have {MAX_HEADERS} headers of {MAX_HEADER} bytes" if "header" in str(error) else ""
        raise invalid(f"the multipart body is malformed: {error}{allowed}") from None
    if not collector.ended:
        raise invalid("the multipart body ends before its last boundary")


async def _pieces(request: Request) -> AsyncGenerator[bytes, None]:
    """The body, little by little. Nothing of it is held while the next is awaited, as `request.stream` does."""
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body, more = message.get("body", b""), message.get("more_body", False)
        del message
        for start in range(0, len(body), SLICE):
            yield body[start : start + SLICE]
        del body


class _Collector:
    """Turns the parser's callbacks into events."""

    def __init__(self) -> None:
        self.events: deque[PartEvent] = deque()
        self.ended = False
        self._headers: Headers = {}
        self._field = b""
        self._value = b""

    def callbacks(self) -> dict[str, object]:
        return {
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self.events.append(data[start:end]),
            "on_part_end": lambda: self.events.append(None),
            "on_end": self._end,
        }

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        self.events.append(self._headers)
        self._headers = {}

    def _end(self) -> None:
        self.ended = True
