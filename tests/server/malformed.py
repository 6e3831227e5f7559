"""Bytes that may be HTTP: requests as they should be, as they should not be, and several of them behind each other."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st


def seldom(usual: bytes, *others: bytes) -> st.SearchStrategy[bytes]:
    """As usual, but for one time in so many that a whole request often is, too."""
    return st.integers(1, ODDS).flatmap(lambda number: st.sampled_from(others) if number == ODDS else st.just(usual))


ODDS = 40
INNER = b"GET /inner HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONTENTS = st.sampled_from(
    [
        b"",
        b"x",
        b"hello",
        INNER,
        b"\r\n" + INNER,
        b"0\r\n\r\n" + INNER,
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
    ]
) | st.binary(max_size=12)

METHODS = seldom(b"GET", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI", b"get", b"SOURCE", b"QUERY", b"", b"G ET")
POSTS = seldom(b"POST", b"PUT", b"GET", b"DELETE", b"CONNECT")
SPACES = seldom(b" ", b"  ", b"\t", b"")
TARGETS = st.sampled_from([b"/", b"/a", b"/a?b=c", b"//x/y"]) | seldom(
    b"/b", b"*", b"http://localhost/c", b"HTTP://LOCALHOST/c?d", b"http://localhost", b"http://localhost?d",
    b"http://evil.example/c", b"//localhost/d", b"/e#f", b"/%zz", b"/\x80", b"/\x01", b"localhost:80", b"",
    b"http://user@localhost/", b"/a b", b"ftp://localhost/",
)  # fmt: skip
VERSIONS = seldom(
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 ", b""
)
ENDS = seldom(b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\0")
HOSTS = seldom(
    b"Host: localhost", b"host:localhost  ", b"Host: evil.example", b"Host: localhost\r\nHost: localhost",
    b"Host: localhost\r\nHost: evil.example", b"X: y", b"Host:", b"Host: a b", b"Host : localhost", b"Host: a@b",
)  # fmt: skip
LENGTHS = seldom(
    b"Content-Length: %d", b"content-length:%d \t", b"Content-Length: 0%d", b"Content-Length: +%d",
    b"Content-Length: -%d",
    b"Content-Length: %d, 1", b"Content-Length: %d\r\nContent-Length: 1", b"Content-Length : %d",
    b"Content-Length: %d;", b"Content-Length: 0x%x", b"Content-Length:\r\n %d", b"Content-Length: %d_0",
    b"Content_Length: %d", b"X: %d",
    b"Content-Length: 1%d", b"Content-Length: %d\r\nTransfer-Encoding: chunked", b"Content-Length: %d\nX: y",
    b"Transfer-Encoding: identity\r\nContent-Length: %d", b"Content-Length: 1844674407370955161%d",
)  # fmt: skip
CODINGS = seldom(
    b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked ", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Transfer_Encoding: chunked",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: chunked\nX: y", b"TE: chunked", b"Transfer-Encoding:",
)  # fmt: skip
SOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        b"Accept: */*", b"Expect: 100-continue", b"Cookie: a=b; c", b"X-Forwarded-For: 10.0.0.1", SOCKET,
        b"Connection: upgrade\r\nUpgrade: h2c", b"Connection: keep-alive, Upgrade\r\nUpgrade: x", b"Upgrade: websocket",
        b"Connection: upgrade", b"Connection: close", b"Connection: keep-alive", b"Connection: x, Close",
        b"Connection: close\r\nConnection: keep-alive", b"Connection: closed",
        b"Connection: upgrade, close\r\nUpgrade: x",
        b"Keep-Alive: timeout=5", b"Trailer: X-Forwarded-For", b"TE: trailers",
    ]
)  # fmt: skip
ODD_FIELDS = st.sampled_from(
    [
        b"A: b\r\n c", b"A", b"A b: c", b": c", b"A: b\0c", b"A: \x7f", b"A: \xff", b"A\x80: b", b" A: b",
        b"A: b\nB: c",
        b"A: b\rB: c", b"A:", b"\tA: b", b"A: b\r\n\tc", b"Connection: upgrade\r\nUpgrade: websocket, h2c",
        b"Connection: upgrade\r\nUpgrade: x\r\nUpgrade: websocket", b"HTTP2-Settings: AAM", b"a" * 300 + b": b",
    ]
)  # fmt: skip
BETWEEN = seldom(b"", b"\r\n", b"\n", b"\r", b" ", b"x", b"\r\n\r\n", b"0\r\n\r\n", b"\0", INNER)


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    """A body in chunks."""
    sent = b""
    for content in draw(st.lists(CONTENTS.filter(bool), max_size=2)):
        size = draw(
            seldom(b"%x", b"%X", b"0%x", b"0x%x", b"%x ", b" %x", b"-%x", b"1%x", b"%x0", b"", b"%x;a=b", b'%x;a="b"')
        )
        end = draw(seldom(b"\r\n", b"\n", b"\r", b"", b"\r\n\r\n", b"xx"))
        sent += (size % len(content) if b"%" in size else size) + draw(ENDS) + content + end
    last = draw(seldom(b"0", b"00", b"0;a", b"", b"0 ", b"0" * 20))
    trailers = draw(
        seldom(b"", b"X-Forwarded-For: 10.0.0.1\r\n", b"A: b\r\nC: d\r\n", b"Content-Length: 5\r\n", b"A: b\n", b" ")
    )
    return sent + last + draw(ENDS) + trailers + draw(ENDS)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, with a body or without."""
    framing = draw(st.sampled_from(["none", "none", "length", "length", "chunks"]))
    method, body, fields = draw(METHODS if framing == "none" else POSTS), b"", draw(st.lists(FIELDS, max_size=2))
    if framing == "length":
        body, length = draw(CONTENTS), draw(LENGTHS)
        fields.append(length % len(body))
    elif framing == "chunks":
        body = draw(chunks())
        fields.append(draw(CODINGS))
    if draw(st.integers(1, 10)) == 10:
        fields.append(draw(ODD_FIELDS))
    fields.insert(draw(st.integers(0, len(fields))), draw(HOSTS))
    line = method + draw(SPACES) + draw(TARGETS) + draw(SPACES) + draw(VERSIONS)
    return b"".join(each + draw(ENDS) for each in (line, *fields, b"")) + body


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """What a client sends on one connection, in the pieces that it arrives in."""
    sent = b"".join(draw(requests()) + draw(BETWEEN) for _ in range(draw(st.integers(1, 3))))
    if not draw(st.integers(0, 4)):
        return [bytes([byte]) for byte in sent]
    cuts = sorted({0, len(sent), *draw(st.lists(st.integers(0, len(sent)), max_size=3))})
    return [sent[begin:end] for begin, end in pairwise(cuts)]
