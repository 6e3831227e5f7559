"""HTTP in all shapes: each has its answers, typed, in turn, and none of them troubles the daemon."""

from __future__ import annotations

import asyncio
import json

import pytest

from echod.errors import TABLE
from echod.server.front import reading
from tests.drivers.asking import until
from tests.drivers.wire import H2C, Wire
from tests.stand_ins.daemon import Daemon

pytestmark = pytest.mark.timeout(120)

PATIENCE = 10.0  # seconds without an answer that mean there will be none

# What is expected: each answer's status, with `t` behind it if it is plain text, as for what is no HTTP, and `h` if it
# is to a HEAD; then `.` if the connection ends, which otherwise serves the next request.
Shapes = dict[str, tuple[bytes, str]]

HOST = b"Host: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST
POST = b"POST /v1/videos HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
PROBE = GET + b"Connection: close\r\n\r\n"


def line(text: bytes, status: str) -> tuple[bytes, str]:
    return text + b"\r\n" + HOST + b"\r\n", status


def field(text: bytes, status: str) -> tuple[bytes, str]:
    return GET + text + b"\r\n\r\n", status


def host(text: bytes, status: str) -> tuple[bytes, str]:
    return b"GET /healthz HTTP/1.1\r\n" + text + b"\r\n\r\n", status


def length(text: bytes, status: str, body: bytes = b'{"a": 1}') -> tuple[bytes, str]:
    return POST + text + b"\r\n\r\n" + body, status


def chunked(body: bytes, status: str, field: bytes = b"Transfer-Encoding: chunked") -> tuple[bytes, str]:
    return POST + field + b"\r\n\r\n" + body, status


LINES: Shapes = {
    "as it should be": line(b"GET /healthz HTTP/1.1", "200"),
    "HTTP/1.0": line(b"GET /healthz HTTP/1.0", "200 ."),
    "HTTP/0.9": line(b"GET /healthz HTTP/0.9", "400 ."),
    "HTTP/1.2": line(b"GET /healthz HTTP/1.2", "400t ."),
    "HTTP/2.0": line(b"GET /healthz HTTP/2.0", "400 ."),
    "HTTP/3.0": line(b"GET /healthz HTTP/3.0", "400t ."),
    "HTTP/1": line(b"GET /healthz HTTP/1", "400t ."),
    "HTTP/11": line(b"GET /healthz HTTP/11", "400t ."),
    "http/1.1": line(b"GET /healthz http/1.1", "400t ."),
    "no version": line(b"GET /healthz", "400 ."),
    "no address": line(b"GET HTTP/1.1", "400t ."),
    "space behind": line(b"GET /healthz HTTP/1.1 ", "400t ."),
    "space before": line(b" GET /healthz HTTP/1.1", "400t ."),
    "two spaces": line(b"GET  /healthz HTTP/1.1", "400 ."),
    "two spaces later": line(b"GET /healthz  HTTP/1.1", "400 ."),
    "tabs": line(b"GET\t/healthz\tHTTP/1.1", "400t ."),
    "space in the address": line(b"GET /healthz x HTTP/1.1", "400t ."),
    "small letters": line(b"get /healthz HTTP/1.1", "400t ."),
    "unknown method": line(b"FETCH /healthz HTTP/1.1", "400t ."),
    "method of another protocol": line(b"DESCRIBE /healthz HTTP/1.1", "400t ."),
    "method that nobody serves": line(b"PROPFIND /healthz HTTP/1.1", "405"),
    "RTSP": line(b"GET /healthz RTSP/1.0", "400 ."),
    "absolute": line(b"GET http://localhost/healthz HTTP/1.1", "200"),
    "absolute, in capitals": line(b"GET HTTP://LOCALHOST/healthz HTTP/1.1", "200"),
    "absolute, https": line(b"GET https://localhost/healthz HTTP/1.1", "200"),
    "absolute, without a path": line(b"GET http://localhost HTTP/1.1", "200"),
    "absolute, query alone": line(b"GET http://localhost?a HTTP/1.1", "200"),
    "absolute, another host": line(b"GET http://evil.example/healthz HTTP/1.1", "400 ."),
    "absolute, another port": line(b"GET http://localhost:1/healthz HTTP/1.1", "400 ."),
    "absolute, with a user": line(b"GET http://a@localhost/healthz HTTP/1.1", "400 ."),
    "absolute, no host": line(b"GET http:///healthz HTTP/1.1", "400 ."),
    "absolute, another scheme": line(b"GET ftp://localhost/healthz HTTP/1.1", "400 ."),
    "relative": line(b"GET healthz HTTP/1.1", "400t ."),
    "host alone": line(b"GET localhost:80 HTTP/1.1", "400t ."),
    "CONNECT": line(b"CONNECT localhost:80 HTTP/1.1", "400 ."),
    "CONNECT, as others": line(b"CONNECT /healthz HTTP/1.1", "400 ."),
    "CONNECT, absolute": line(b"CONNECT http://localhost/healthz HTTP/1.1", "400 ."),
    "asterisk": line(b"GET * HTTP/1.1", "400 ."),
    "slashes": line(b"GET //healthz HTTP/1.1", "404"),
    "fragment": line(b"GET /healthz#a HTTP/1.1", "400 ."),
    "question marks": line(b"GET /healthz?a?b=?&& HTTP/1.1", "200"),
    "per cent and nothing": line(b"GET /%zz%2 HTTP/1.1", "404"),
    "coded": line(b"GET /health%7a HTTP/1.1", "200"),
    "coded slash": line(b"GET /v1%2fmodels HTTP/1.1", "200"),
    "coded nothing": line(b"GET /%00 HTTP/1.1", "404"),
    "no UTF-8, coded": line(b"GET /%ff%fe HTTP/1.1", "404"),
    "no ASCII": line("GET /gesund HTTP/1.1".replace("u", "ü").encode(), "400t ."),
    "control character": line(b"GET /\x01 HTTP/1.1", "400t ."),
    "nothing in it": line(b"GET /\0 HTTP/1.1", "400t ."),
    "too long": line(b"GET /" + b"a" * reading.MAX_HEAD + b" HTTP/1.1", "400 ."),
    "too long by far": line(b"GET /" + b"a" * 16 * reading.MAX_HEAD + b" HTTP/1.1", "400 ."),
    "empty line before": (b"\r\n" + GET + b"\r\n", "400t ."),
    "line feeds before": (b"\n\n" + GET + b"\r\n", "400t ."),
    "line feeds": (GET.replace(b"\r", b"") + b"\n", "400t ."),
    "carriage returns": (GET.replace(b"\n", b"") + b"\r", "400t ."),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400t ."),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400t ."),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "400t ."),
    "SMTP": (b"EHLO localhost\r\n", "400t ."),
    "SOCKS": (b"\x05\x01\x00", "400t ."),
    "PROXY": (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + GET + b"\r\n", "400t ."),
    "an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "400t ."),
}

FIELDS: Shapes = {
    "no Host": host(b"A: b", "400 ."),
    "no Host in HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", "200 ."),
    "empty Host": host(b"Host:", "200"),
    "two Hosts": host(b"Host: localhost\r\nHost: localhost", "400 ."),
    "two Hosts in HTTP/1.0": (b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400 ."),
    "Host with a port": host(b"Host: localhost:8765", "200"),
    "Host with an empty port": host(b"Host: localhost:", "200"),
    "Host with two ports": host(b"Host: localhost:1:2", "400 ."),
    "Host that is IPv6": host(b"Host: [::1]:8765", "200"),
    "Host that is half IPv6": host(b"Host: [::1", "400 ."),
    "Host with a user": host(b"Host: localhost@evil.example", "400 ."),
    "Host with a path": host(b"Host: localhost/a", "400 ."),
    "Host with a space": host(b"Host: localhost evil.example", "400 ."),
    "Hosts in a list": host(b"Host: localhost, evil.example", "400 ."),
    "Host with space around": host(b"Host:\t localhost \t", "200"),
    "folded": field(b"A: b\r\n c", "400t ."),
    "folded by a tab": field(b"A: b\r\n\tc", "400t ."),
    "folded first": host(b" Host: localhost", "400t ."),
    "no colon": field(b"A", "400t ."),
    "no name": field(b": a", "400t ."),
    "no value": field(b"A:", "200"),
    "space before the colon": field(b"A : b", "400t ."),
    "space in the name": field(b"A b: c", "400t ."),
    "no ASCII in the name": field("Ä: b".encode(), "400t ."),
    "bracket in the name": field(b"A(: b", "400t ."),
    "no ASCII in the value": field("A: ä".encode(), "200"),
    "tab in the value": field(b"A: b\tc", "200"),
    "control character": field(b"A: b\x01c", "400t ."),
    "nothing in the value": field(b"A: b\0c", "400t ."),
    "delete": field(b"A: b\x7f", "400t ."),
    "carriage return": field(b"A: b\rc", "400t ."),
    "line feed": field(b"A: b\nB: c", "400t ."),
    "a thousand": field(b"\r\n".join(b"A%d: b" % number for number in range(1000)), "200"),
    "too many": field(b"\r\n".join(b"A%d: b" % number for number in range(10_000))[: reading.MAX_HEAD], "400 ."),
    "too long": field(b"A: " + b"b" * reading.MAX_HEAD, "400 ."),
    "a token of ours too long": field(b"Authorization: Bearer " + b"b" * 60_000, "200"),
    "close": field(b"Connection: close", "200 ."),
    "Close in a list": field(b"Connection: a, Close", "200 ."),
    "close and keep-alive": field(b"Connection: close\r\nConnection: keep-alive", "200 ."),
    "close, almost": field(b"Connection: closed", "200"),
    "keep-alive": field(b"Connection: keep-alive\r\nKeep-Alive: timeout=5, max=9", "200"),
    "keep-alive in HTTP/1.0": (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200 ."),
    "offer of h2c": field(H2C.encode().strip(), "200 ."),
    "Upgrade alone": field(b"Upgrade: websocket", "200"),
    "Connection: Upgrade alone": field(b"Connection: Upgrade", "200"),
    "Upgrade to nothing": field(b"Connection: Upgrade\r\nUpgrade:", "200"),
    "Upgrade in HTTP/1.0": (
        b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "200 .",
    ),
}  # fmt: skip

BODIES: Shapes = {
    "length": length(b"Content-Length: 8", "400"),
    "no length": length(b"A: b", "400", b""),
    "no length, and a body": length(b"A: b", "400 400t ."),
    "length of nothing": length(b"Content-Length: 0", "400", b""),
    "zeros": length(b"Content-Length: 0008", "400"),
    "space around": length(b"Content-Length: \t 8 \t", "400"),
    "plus": length(b"Content-Length: +8", "400t ."),
    "minus": length(b"Content-Length: -8", "400t ."),
    "hexadecimal": length(b"Content-Length: 0x8", "400t ."),
    "fraction": length(b"Content-Length: 8.0", "400t ."),
    "exponent": length(b"Content-Length: 1e1", "400t ."),
    "underscore": length(b"Content-Length: 0_8", "400t ."),
    "other digits": length("Content-Length: ٨".encode(), "400t ."),
    "words": length(b"Content-Length: eight", "400t ."),
    "empty": length(b"Content-Length:", "400t ."),
    "list": length(b"Content-Length: 8, 8", "400t ."),
    "twice": length(b"Content-Length: 8\r\nContent-Length: 8", "400t ."),
    "two": length(b"Content-Length: 8\r\nContent-Length: 9", "400t ."),
    "folded": length(b"Content-Length:\r\n 8", "400t ."),
    "space before the colon": length(b"Content-Length : 8", "400t ."),
    "underscore in the name": length(b"Content_Length: 8", "400 400t ."),
    "too large": length(b"Content-Length: 1048577", "413 ."),
    "63 bits": length(b"Content-Length: 9223372036854775807", "413 ."),
    "65 bits": length(b"Content-Length: 18446744073709551616", "400t ."),
    "too short": length(b"Content-Length: 7", "400 400t ."),
    "a request behind": length(b"Content-Length: 8", "400 200", b'{"a": 1}' + GET + b"\r\n"),
    "GET with a body": (GET + b"Content-Length: 3\r\n\r\nabc", "200 ."),
    "GET with a body in chunks": (GET + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 ."),
    "HEAD with a body": (GET.replace(b"GET", b"HEAD") + b"Content-Length: 3\r\n\r\nabc", "200h ."),
    "DELETE with a body": (b"DELETE /v1/videos/a HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", "404 ."),
    "offer of h2c": length(H2C.encode() + b"Content-Length: 8", "400 ."),
    "Expect": length(b"Expect: 100-continue\r\nContent-Length: 8", "100 400"),
    "Expect, in capitals": length(b"Expect: 100-Continue\r\nContent-Length: 8", "100 400"),
    "Expect, too large": length(b"Expect: 100-continue\r\nContent-Length: 1048577", "413 .", b""),
    "Expect in HTTP/1.0": (
        POST.replace(b"1.1", b"1.0") + b'Expect: 100-continue\r\nContent-Length: 8\r\n\r\n{"a": 1}',
        "400 .",
    ),
    "Expect without a body": (GET + b"Expect: 100-continue\r\n\r\n", "200"),
    "Expect something else": length(b"Expect: a miracle\r\nContent-Length: 8", "400"),
}

GOOD = b'8\r\n{"a": 1}\r\n0\r\n\r\n'
CHUNKS: Shapes = {
    "chunked": chunked(GOOD, "400"),
    "Chunked": chunked(GOOD, "400", b"transfer-encoding:  Chunked "),
    "gzip, chunked": chunked(GOOD, "400 .", b"Transfer-Encoding: gzip, chunked"),
    "gzip and chunked": chunked(GOOD, "400 .", b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
    "chunked, gzip": chunked(GOOD, "400t .", b"Transfer-Encoding: chunked, gzip"),
    "chunked, chunked": chunked(GOOD, "400t .", b"Transfer-Encoding: chunked, chunked"),
    "chunked twice": chunked(GOOD, "400t .", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "chunked and identity": chunked(GOOD, "400t .", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    "identity": chunked(GOOD, "400 .", b"Transfer-Encoding: identity"),
    "identity and a length": chunked(b'{"a": 1}', "400t .", b"Transfer-Encoding: identity\r\nContent-Length: 8"),
    "no coding": chunked(GOOD, "400t .", b"Transfer-Encoding:"),
    "quoted": chunked(GOOD, "400 .", b'Transfer-Encoding: "chunked"'),
    "with a parameter": chunked(GOOD, "400 .", b"Transfer-Encoding: chunked;q=1"),
    "with a comma": chunked(GOOD, "400t .", b"Transfer-Encoding: chunked,"),
    "xchunked": chunked(GOOD, "400 .", b"Transfer-Encoding: xchunked"),
    "vertical tab": chunked(GOOD, "400t .", b"Transfer-Encoding: \x0bchunked"),
    "folded": chunked(GOOD, "400t .", b"Transfer-Encoding:\r\n chunked"),
    "space before the colon": chunked(GOOD, "400t .", b"Transfer-Encoding : chunked"),
    "underscore in the name": chunked(GOOD, "400 400t .", b"Transfer_Encoding: chunked"),
    "TE": chunked(GOOD, "400 400t .", b"TE: chunked"),
    "in HTTP/1.0": (POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + GOOD, "400 ."),
    "with a length": chunked(GOOD, "400t .", b"Transfer-Encoding: chunked\r\nContent-Length: 3"),
    "behind a length": chunked(GOOD, "400t .", b"Content-Length: 3\r\nTransfer-Encoding: chunked"),
    "nothing": chunked(b"0\r\n\r\n", "400"),
    "zeros": chunked(b'0008\r\n{"a": 1}\r\n000\r\n\r\n', "400"),
    "small and large": chunked(b"a\r\n{\"a\": 1234\r\nB\r\n, \"b\": 1234\r\n1\r\n}\r\n0\r\n\r\n", "400"),
    "extension": chunked(b'8;a=b;c="d e";f\r\n{"a": 1}\r\n0;g\r\n\r\n', "400"),
    "extension over two lines": chunked(b'8;a="b\r\nc"\r\n{"a": 1}\r\n0\r\n\r\n', "400t ."),
    "extension with nothing": chunked(b'8;a\0\r\n{"a": 1}\r\n0\r\n\r\n', "400t ."),
    "extension too long": chunked(b"8;a=" + b"b" * (reading.MAX_HEAD + 1), "400 ."),
    "space before the extension": chunked(b'8 ;a\r\n{"a": 1}\r\n0\r\n\r\n', "400t ."),
    "space behind the size": chunked(b'8 \r\n{"a": 1}\r\n0\r\n\r\n', "400t ."),
    "0x": chunked(b'0x8\r\n{"a": 1}\r\n0\r\n\r\n', "400t ."),
    "minus": chunked(b'-8\r\n{"a": 1}\r\n0\r\n\r\n', "400t ."),
    "no size": chunked(b'\r\n{"a": 1}\r\n0\r\n\r\n', "400t ."),
    "65 bits": chunked(b"10000000000000000\r\n", "400t ."),
    "64 bits": chunked(b"ffffffffffffffff\r\n" + b" " * ((1 << 20) + 1), "413 ."),
    "too small": chunked(b'7\r\n{"a": 1}\r\n0\r\n\r\n', "400t ."),
    "no end of a chunk": chunked(b'8\r\n{"a": 1}0\r\n\r\n', "400t ."),
    "line feeds": chunked(b'8\n{"a": 1}\n0\n\n', "400t ."),
    "line feed at the end": chunked(b'8\r\n{"a": 1}\r\n0\r\n\n', "400t ."),
    "trailers": chunked(GOOD[:-2] + b"A: b\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n", "400"),
    "trailer that is a length": chunked(GOOD[:-2] + b"Content-Length: 5\r\n\r\n", "400t ."),
    "trailer that is none": chunked(GOOD[:-2] + b"A\r\n\r\n", "400t ."),
    "trailer folded": chunked(GOOD[:-2] + b"A: b\r\n c\r\n\r\n", "400t ."),
    "something behind": chunked(GOOD + GET + b"\r\n", "400 ."),
    "noise behind": chunked(GOOD + b"x", "400 ."),
}  # fmt: skip

AHEAD: Shapes = {
    "two": ((GET + b"\r\n") * 2, "200 200"),
    "ten": ((GET + b"\r\n") * 10, "200 " * 10),
    "with a body between": (GET + b'\r\n' + POST + b'Content-Length: 8\r\n\r\n{"a": 1}' + GET + b"\r\n", "200 400 200"),
    "HEAD before": (b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n" + GET + b"\r\n", "200h 200"),
    "behind the last one": (GET + b"Connection: close\r\n\r\n" + GET + b"\r\n", "200 ."),
    "behind HTTP/1.0": (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET + b"\r\n", "200 ."),
    "noise behind": (GET + b"\r\nxyz", "200 400t ."),
    "empty line behind": (GET + b"\r\n\r\n", "200 400t ."),
    "line feed behind": (GET + b"\r\n\n" + GET + b"\r\n", "200 400t ."),
    "two Hosts behind": (GET + b"\r\n" + GET + HOST + b"\r\n", "200 400 ."),
    "behind a refusal": (GET + HOST + b"\r\n" + GET + b"\r\n", "400 ."),
    "behind noise": (b"xyz" + GET + b"\r\n", "400t ."),
    "behind an offer of h2c": (GET + H2C.encode() + b"\r\n" + GET + b"\r\n", "200 ."),
    "behind a body too large": (POST + b"Content-Length: 1048577\r\n\r\n" + b" " * 1048577 + GET + b"\r\n", "413 ."),
    "answered before its body": (
        b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n", "404 .",
    ),
}  # fmt: skip

GROUPS = {"lines": LINES, "fields": FIELDS, "bodies": BODIES, "chunks": CHUNKS, "ahead": AHEAD}


async def answers(wire: Wire, expected: str) -> str:
    """What comes, in the words of `expected`, as far as that goes."""
    found: list[str] = []
    for token in expected.split():
        if token == ".":
            if rest := await wire.rest():
                return f"{' '.join(found)} and then {rest[:80]!r}"
            found.append(".")
            break
        found.append(await answer(wire, to_head=token.endswith("h")))
    else:
        wire.writer.write(PROBE)
        if not (await wire.rest()).startswith(b"HTTP/1.1 200 "):
            found.append(".")
    return " ".join(found)


async def answer(wire: Wire, *, to_head: bool) -> str:
    """An answer's status; a refusal has a code that goes with it, or is no HTTP and plain."""
    head = (await wire.reader.readuntil(b"\r\n\r\n")).decode().lower()
    status = head.split()[1]
    if status == "100":
        return status
    assert "\r\ndate: " in head
    assert "\r\nserver: echod\r\n" in head
    if to_head:
        return f"{status}h"
    body = await wire.reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
    if "content-type: text/plain" in head:
        assert body == b"Invalid HTTP request received."
        return f"{status}t"
    if int(status) >= 400:
        error = json.loads(body)["error"]
        assert TABLE[error["code"]].status == int(status), error
    return status


async def outcome(daemon: Daemon, sent: bytes, expected: str) -> str:
    wire = await Wire.open(daemon, "tcp")
    try:
        async with asyncio.timeout(PATIENCE):
            wire.writer.write(sent)
            return await answers(wire, expected)
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionResetError) as error:
        return type(error).__name__
    finally:
        wire.writer.transport.abort()


@pytest.mark.parametrize("group", GROUPS)
async def test_shapes(
    daemon: Daemon, group: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every shape has the answers that it should have, and none is worth a line in the log."""
    monkeypatch.setattr("echod.server.admission.LINGER", 0.1)
    shapes = GROUPS[group]
    found = {name: await outcome(daemon, sent, expected) for name, (sent, expected) in shapes.items()}
    assert found == {name: expected.strip() for name, (_, expected) in shapes.items()}
    await until(lambda: not (daemon.front.transports or daemon.front.state.tasks))
    assert caplog.messages == []


def test_there_are_enough() -> None:
    assert sum(map(len, GROUPS.values())) >= 141


WHOLE = POST + b'Content-Length: 8\r\n\r\n{"a": 1}'


@pytest.mark.parametrize("end", ["write_eof", "close", "abort"])
async def test_clients_that_end_anywhere(daemon: Daemon, end: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever ends a connection, or their half of it, has left: nothing is kept for them, wherever that was."""
    for place in range(0, len(WHOLE) + 1, 7):
        wire = await Wire.open(daemon, "tcp")
        wire.writer.write(WHOLE[:place])
        await until(lambda: bool(daemon.front.transports))
        getattr(wire.writer.transport, end)()
        await until(lambda: not (daemon.front.transports or daemon.front.state.tasks))
        wire.writer.close()
    assert caplog.messages == []
