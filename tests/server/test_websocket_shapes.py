"""WebSockets in all shapes: handshakes are opened or refused in typed words, frames end with the right close code."""

from __future__ import annotations

import asyncio
import json
import re
import struct

import pytest

from echod.errors import TABLE
from echod.server.front.connection import MAX_FRAGMENTS
from echod.server.front.front import MAX_MESSAGE
from tests.drivers.asking import until
from tests.drivers.wire import Wire
from tests.stand_ins.daemon import Daemon

pytestmark = pytest.mark.timeout(120)

PATIENCE = 10.0  # seconds without an answer that mean there will be none
LINE, HOST = b"GET /v1/events HTTP/1.1", b"Host: 127.0.0.1"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")
KEY, VERSION = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Sec-WebSocket-Version: 13"
HANDSHAKE = (LINE, HOST, *UPGRADE, KEY, VERSION)


def changed(old: bytes, *new: bytes) -> bytes:
    """The handshake with other lines in the place of one."""
    place = HANDSHAKE.index(old)
    return b"\r\n".join((*HANDSHAKE[:place], *new, *HANDSHAKE[place + 1 :], b"", b""))


def more(*fields: bytes) -> bytes:
    return b"\r\n".join((*HANDSHAKE, *fields, b"", b""))


def at(path: bytes) -> bytes:
    return changed(LINE, b"GET %b HTTP/1.1" % path)


# The status of the answer.
HANDSHAKES: dict[str, tuple[bytes, int]] = {
    "as it should be": (more(), 101),
    "names in other letters": (more().replace(b"Sec-WebSocket", b"sEC-wEBsOCKET"), 101),
    "WebSocket": (changed(UPGRADE[1], b"upgrade: WebSocket"), 101),
    "Connection in a list": (changed(UPGRADE[0], b"Connection: keep-alive, upgrade"), 101),
    "two Connections": (changed(UPGRADE[0], b"Connection: Upgrade", b"Connection: keep-alive"), 101),
    "no Connection": (changed(UPGRADE[0]), 404),
    "Connection: close": (changed(UPGRADE[0], b"Connection: close"), 404),
    "no Upgrade": (changed(UPGRADE[1]), 404),
    "Upgrade in a list": (changed(UPGRADE[1], b"Upgrade: websocket, h2c"), 404),
    "two Upgrades": (changed(UPGRADE[1], b"Upgrade: websocket", b"Upgrade: h2c"), 404),
    "another Upgrade": (changed(UPGRADE[1], b"Upgrade: h2c"), 404),
    "Upgrade with a version": (changed(UPGRADE[1], b"Upgrade: websocket/13"), 404),
    "no key": (changed(KEY), 400),
    "empty key": (changed(KEY, b"Sec-WebSocket-Key:"), 400),
    "short key": (changed(KEY, b"Sec-WebSocket-Key: AAAA"), 400),
    "long key": (changed(KEY, KEY[:-2] + b"AA" + KEY[-4:]), 400),
    "key that is no base64": (changed(KEY, b"Sec-WebSocket-Key: ????????????????????????"), 400),
    "two keys": (changed(KEY, KEY, KEY), 400),
    "no version": (changed(VERSION), 400),
    "version 8": (changed(VERSION, b"Sec-WebSocket-Version: 8"), 400),
    "version 14": (changed(VERSION, b"Sec-WebSocket-Version: 14"), 400),
    "versions in a list": (changed(VERSION, b"Sec-WebSocket-Version: 13, 8"), 400),
    "two versions": (changed(VERSION, VERSION, VERSION), 400),
    "POST": (changed(LINE, b"POST /v1/events HTTP/1.1"), 400),
    "HEAD": (changed(LINE, b"HEAD /v1/events HTTP/1.1"), 400),
    "HTTP/1.0": (changed(LINE, b"GET /v1/events HTTP/1.0"), 404),
    "HTTP/2.0": (changed(LINE, b"GET /v1/events HTTP/2.0"), 400),
    "no Host": (changed(HOST), 400),
    "two Hosts": (changed(HOST, HOST, HOST), 400),
    "another Host": (changed(HOST, b"Host: evil.example"), 403),
    "a page elsewhere": (more(b"Origin: http://evil.example"), 403),
    "through a proxy": (more(b"X-Forwarded-For: 127.0.0.1"), 403),
    "a token that is none": (more(b"Authorization: Bearer x"), 101),
    "a query": (at(b"/v1/events?after=1&b"), 101),
    "absolute": (at(b"http://127.0.0.1/v1/events"), 101),
    "absolute, another host": (at(b"http://evil.example/v1/events"), 400),
    "a slash more": (at(b"/v1/events/"), 404),
    "slashes": (at(b"//v1/events"), 404),
    "a host before the path": (at(b"//evil.example/v1/events"), 404),
    "coded": (at(b"/v1/event%73"), 404),
    "fragment": (at(b"/v1/events#a"), 400),
    "a path of HTTP": (at(b"/v1/videos"), 404),
    "subprotocols": (more(b"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.x"), 101),
    "compression": (more(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101),
    "extension that is none": (more(b"Sec-WebSocket-Extensions: ;;"), 101),
    "length of nothing": (more(b"Content-Length: 0"), 101),
    "a body": (more(b"Content-Length: 3") + b"abc", 400),
    "a body in chunks": (more(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "frames too early": (more() + b"\x89\x80\0\0\0\0", 400),
    "a second handshake": (more() + more(), 400),
    "header too long": (more(b"A: " + b"b" * 8000), 400),
    "too many headers": (more(*[b"A: b"] * 125), 400),
    "folded": (more(b"A: b\r\n c"), 400),
}  # fmt: skip

TEXT, BINARY, CONTINUED, CLOSE, PING, PONG, END = 1, 2, 0, 8, 9, 10, 0x80


def frame(first: int, content: bytes = b"", *, mask: bool = True, length: bytes | None = None) -> bytes:
    """As a client sends it: first byte, length, mask, content. The mask is zero, so that the content stays as it is."""
    if length is None:
        size = len(content)
        short = size < 1 << 16
        length = bytes([size]) if size < 126 else struct.pack("!BH" if short else "!BQ", 126 if short else 127, size)
    masked = bytes([length[0] | 0x80 * mask]) + length[1:] + bytes(4) * mask
    return bytes([first]) + masked + content


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(END | CLOSE, struct.pack("!H", code) + reason)


GOODBYE = closing(1000)

# The close code that ends it. All are sent to a socket that expects nothing of its client.
FRAMES: dict[str, tuple[bytes, int]] = {
    "text": (frame(END | TEXT, b"hello") + GOODBYE, 1000),
    "binary": (frame(END | BINARY, b"\0\xff") + GOODBYE, 1000),
    "nothing": (frame(END | TEXT) + GOODBYE, 1000),
    "126 bytes": (frame(END | TEXT, b"a" * 126) + GOODBYE, 1000),
    "the most": (frame(END | BINARY, bytes(MAX_MESSAGE)) + GOODBYE, 1000),
    "too much": (frame(END | BINARY, bytes(MAX_MESSAGE + 1)), 1009),
    "too much, said": (frame(END | BINARY, length=b"\x7f" + struct.pack("!Q", 1 << 40)), 1009),
    "too much in all": (frame(BINARY, bytes(MAX_MESSAGE)) + frame(END | CONTINUED, b"a"), 1009),
    "64 bits": (frame(END | BINARY, length=b"\x7f" + b"\xff" * 8), 1009),
    "length longer than needed": (frame(END | TEXT, b"a", length=b"\x7e\0\1") + GOODBYE, 1000),
    "fragments": (frame(TEXT, b"a") + frame(CONTINUED, b"b") + frame(END | CONTINUED, b"c") + GOODBYE, 1000),
    "empty fragments": (frame(TEXT) + frame(CONTINUED) * 100 + frame(END | CONTINUED) + GOODBYE, 1000),
    "too many fragments": (frame(TEXT) + frame(CONTINUED) * (MAX_FRAGMENTS + 1), 1009),
    "ping between fragments": (frame(TEXT, b"a") + frame(END | PING) + frame(END | CONTINUED) + GOODBYE, 1000),
    "close between fragments": (frame(TEXT, b"a") + GOODBYE, 1002),
    "letter in two fragments": (frame(TEXT, b"\xc3") + frame(END | CONTINUED, b"\xa4") + GOODBYE, 1000),
    "half a letter": (frame(END | TEXT, b"\xc3"), 1007),
    "no UTF-8": (frame(END | TEXT, b"\xff"), 1007),
    "half a surrogate pair": (frame(END | TEXT, b"\xed\xa0\x80"), 1007),
    "continued from nothing": (frame(END | CONTINUED, b"a"), 1002),
    "a message within another": (frame(TEXT, b"a") + frame(END | TEXT, b"b"), 1002),
    "no mask": (frame(END | TEXT, b"a", mask=False), 1002),
    "reserved bit 1": (frame(END | 0x40 | TEXT, b"a"), 1002),
    "reserved bit 2": (frame(END | 0x20 | TEXT, b"a"), 1002),
    "reserved bit 3": (frame(END | 0x10 | TEXT, b"a"), 1002),
    **{f"frame of type {number}": (frame(END | number), 1002) for number in (3, 7, 11, 15)},
    "ping": (frame(END | PING, b"abc") + GOODBYE, 1000),
    "ping of 125 bytes": (frame(END | PING, b"a" * 125) + GOODBYE, 1000),
    "ping of 126 bytes": (frame(END | PING, b"a" * 126), 1002),
    "ping in fragments": (frame(PING, b"a"), 1002),
    "a thousand pings": (frame(END | PING) * 1000 + GOODBYE, 1000),
    "pong that nobody asked for": (frame(END | PONG, b"abc") + GOODBYE, 1000),
    "close": (GOODBYE, 1000),
    "close without a code": (frame(END | CLOSE), 1005),
    "close with half a code": (frame(END | CLOSE, b"\x03"), 1002),
    "close with a reason": (closing(1001, b"gone"), 1001),
    "close with a reason of no UTF-8": (closing(1000, b"\xff"), 1007),
    "close by the own code": (closing(4000), 4000),
    **{f"close by {code}": (closing(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)},
    "close of 126 bytes": (closing(1000, b"a" * 124), 1002),
    "close in fragments": (frame(CLOSE, b"\x03\xe8"), 1002),
    "something behind close": (GOODBYE + frame(END | TEXT, b"a") + b"\xff" * 100, 1000),
    "noise": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 1002),
}  # fmt: skip


async def handshaken(daemon: Daemon, sent: bytes) -> tuple[Wire, int]:
    """The connection, and the status of what it is answered; a refusal is typed, or is for what is no HTTP."""
    wire = await Wire.open(daemon, "tcp")
    wire.writer.write(sent)
    async with asyncio.timeout(PATIENCE):
        head = await wire.reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        if length := re.search(rb"(?i)content-length: (\d+)", head):
            body = await wire.reader.readexactly(int(length[1]))
            if b"text/plain" not in head:
                assert TABLE[json.loads(body)["error"]["code"]].status == status
    return wire, status


async def test_handshakes(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """Each is opened, or refused with a code, and none is worth a line in the log."""
    found = {}
    for name, (sent, _) in HANDSHAKES.items():
        wire, found[name] = await handshaken(daemon, sent)
        wire.writer.transport.abort()
    assert found == {name: status for name, (_, status) in HANDSHAKES.items()}
    await until(lambda: not daemon.front.transports)
    assert caplog.messages == []


async def closed(wire: Wire) -> int:
    """The code that the daemon closes with, behind pongs, which are counted from its side."""
    while True:
        first, size = await wire.reader.readexactly(2)
        assert first in (END | PONG, END | CLOSE)
        content = await wire.reader.readexactly(size)
        if first == END | CLOSE:
            assert await wire.rest() == b""
            return struct.unpack("!H", content[:2])[0] if content else 1005


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_frames(daemon: Daemon, caplog: pytest.LogCaptureFixture, one_by_one: bool) -> None:
    """Each ends with its close code, in whatever pieces it comes."""
    found: dict[str, int | str] = {}
    for name, (sent, _) in FRAMES.items():
        wire, status = await handshaken(daemon, more())
        assert status == 101
        for piece in [bytes([byte]) for byte in sent] if one_by_one and len(sent) < 1000 else [sent]:
            wire.writer.write(piece)
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(PATIENCE):
                found[name] = await closed(wire)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
            found[name] = repr(error)
        wire.writer.transport.abort()
    assert found == {name: code for name, (_, code) in FRAMES.items()}
    await until(lambda: not daemon.front.transports)
    assert caplog.messages == []


async def test_pongs(daemon: Daemon) -> None:
    """A ping is answered with what it carried, also between the fragments of a message."""
    wire, _ = await handshaken(daemon, more())
    wire.writer.write(frame(TEXT, b"a") + frame(END | PING, b"abc") + frame(END | CONTINUED))
    assert await wire.reader.readexactly(5) == bytes([END | PONG, 3]) + b"abc"
    wire.writer.close()
