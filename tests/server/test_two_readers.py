"""What the front takes for a request is one to h11 as well: the same request, at the same place, with the same body."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from echod.server.caller import LOCAL
from echod.server.front.connection import Connection
from echod.server.front.front import Front
from tests.drivers.asking import until
from tests.making.malformed import conversations

QUICK, MANY = 200, 10_000
SEED = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))


@dataclass
class Seen:
    """A request as one reader has it. The body is None if it was not looked at, or did not come to its end."""

    method: bytes
    path: bytes
    query: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes | None = None


# An Upgrade that is passed over is not handed on, and that a connection is a proxy's is added; h11 spells codings anew.
OURS = (b"connection", b"upgrade", b"forwarded", b"transfer-encoding")


def seen(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> Seen:
    """`target` may be absolute (RFC 9112, 3.2.2)."""
    scheme, mark, rest = target.partition(b"://")
    if mark and scheme.isalpha():
        place = min((rest.index(each) for each in (b"/", b"?") if each in rest), default=len(rest))
        target = rest[place:] if rest[place : place + 1] == b"/" else b"/" + rest[place:]
    path, _, query = target.partition(b"?")
    return Seen(method, path, query, [each for each in fields if each[0] not in OURS])


def by_h11(sent: bytes) -> list[Seen]:
    """What h11 reads, if whatever it reads is answered at once."""
    reader, found = h11.Connection(h11.SERVER), list[Seen]()
    reader.receive_data(sent)
    with contextlib.suppress(h11.RemoteProtocolError):
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Request):
                found.append(seen(event.method, event.target, event.headers))
                body = b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found[-1].body = body
                reader.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                reader.send(h11.EndOfMessage())
                if reader.our_state is not h11.DONE:
                    break
                reader.start_next_cycle()
            else:  # no more data
                break
    return found


@dataclass
class Reader:
    """A front that writes down what it has read."""

    front: Front
    found: list[Seen] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    eager: bool = False  # answers before it looks at the body
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": f"{(await receive())['type']}.complete"})
            return
        target = scope["raw_path"] + b"?" + scope["query_string"]
        request = seen(scope["method"].encode(), target, scope["headers"])
        self.found.append(request)
        if not self.eager:
            request.body = await _body(receive)
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def opened(self, connection: Connection) -> None:
        assert connection.request
        fields = [(name.encode(), value.encode("latin-1")) for name, value in connection.request.headers.raw_items()]
        self.found.append(seen(b"GET", connection.request.path.encode(), fields))
        self.found[-1].body = b""

    async def read(self, pieces: list[bytes], *, eager: bool, late: bool) -> list[Seen]:
        """What the front reads of `pieces`, which arrive as they are; `late`: before anything is answered."""
        self.found, self.eager, self.may_answer = [], eager, asyncio.Event()
        _, writer = await asyncio.open_connection(*self.front.tcp_url.removeprefix("http://").split(":"))
        await until(lambda: bool(self.front.transports))
        (transport,) = self.front.transports
        assert isinstance(transport, asyncio.Transport)
        if not late:
            self.may_answer.set()
        for piece in pieces:
            protocol = transport.get_protocol()
            if transport.is_closing() or isinstance(protocol, Connection):
                break
            assert isinstance(protocol, asyncio.Protocol)
            protocol.data_received(piece)
            await self._rest()
        self.may_answer.set()
        await self._rest()
        self.outcomes["upgraded" if isinstance(transport.get_protocol(), Connection) else "read"] += len(self.found)
        writer.transport.abort()
        await until(lambda: not self.front.transports)
        writer.close()
        return self.found

    async def _rest(self) -> None:
        """Until nothing is left to do but to wait for more."""
        for _ in range(10):
            await asyncio.sleep(0)


async def _body(receive: Receive) -> bytes | None:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)
    return None


@pytest.fixture
async def reader(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Reader]:
    """Afterwards nothing has been logged, and nothing is left open."""
    made: Any = None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await made.app(scope, receive, send)

    async def opened(connection: Connection) -> None:
        await made.opened(connection)

    sockets = dict.fromkeys(("/", "/a", "/b", "/c", "//x/y"), opened)
    made = Reader(Front(app, sockets, lambda *_: LOCAL))
    await made.front.start("127.0.0.1", 0)
    yield made
    print(f"ECHOD_CHAOS_SEED={SEED} {' '.join(f'{name}={times}' for name, times in sorted(made.outcomes.items()))}")
    await made.front.close()
    assert caplog.messages == []


def check(found: list[Seen], sent: bytes) -> None:
    others = by_h11(sent)
    assert len(found) <= len(others), (found, others)
    for ours, theirs in zip(found, others, strict=False):
        assert ours.body is None or ours.body == theirs.body
        assert replace(ours, body=None) == replace(theirs, body=None)


READING = {"pieces": conversations(), "eager": st.booleans(), "late": st.booleans()}


def reading(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))


@reading(QUICK)
@seed(SEED)
@given(**READING)
async def test_one_reading(reader: Reader, pieces: list[bytes], eager: bool, late: bool) -> None:
    """Whatever is sent, in whatever pieces, and whenever it is answered; the front may refuse more than h11 does."""
    check(await reader.read(pieces, eager=eager, late=late), b"".join(pieces))


@pytest.mark.long
@pytest.mark.timeout(1800)
@reading(MANY)
@seed(SEED)
@given(**READING)
async def test_one_reading_of_many(reader: Reader, pieces: list[bytes], eager: bool, late: bool) -> None:
    """The same, ten thousand times."""
    check(await reader.read(pieces, eager=eager, late=late), b"".join(pieces))
