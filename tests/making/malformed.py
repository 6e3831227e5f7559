"""Bytes that may be HTTP: requests as they should be, as they should not be, and several of them behind each other."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

INNER = b"GET /inner HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONTENTS = [
    b"", b"x", b"hello", INNER, b"\r\n" + INNER, b"0\r\n\r\n" + INNER, b"\r\n\r\n", b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
]  # fmt: skip

# What is usual comes first.
METHODS = [b"GET", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI", b"get", b"SOURCE", b"QUERY", b"", b"G ET"]
WITH_BODIES = [b"POST", b"PUT", b"GET", b"DELETE", b"CONNECT"]
SPACES = [b" ", b"  ", b"\t", b""]
TARGETS = [
    b"/", b"/a", b"/a?b=c", b"//x/y", b"*", b"http://localhost/c", b"HTTP://LOCALHOST/c?d", b"http://localhost",
    b"http://localhost?d", b"http://evil.example/c", b"//localhost/d", b"/e#f", b"/%zz", b"/\x80", b"/\x01", b"",
    b"localhost:80", b"http://user@localhost/", b"/a b", b"ftp://localhost/",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 ", b""]
ENDS = [b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\0"]
HOSTS = [
    b"Host: localhost", b"host:localhost  ", b"Host: evil.example", b"Host: localhost\r\nHost: localhost",
    b"Host: localhost\r\nHost: evil.example", b"X: y", b"Host:", b"Host: a b", b"Host : localhost", b"Host: a@b",
]  # fmt: skip
LENGTHS = [
    b"Content-Length: %d", b"content-length:%d \t", b"Content-Length: 0%d", b"Content-Length: +%d",
    b"Content-Length: -%d", b"Content-Length: %d, 1", b"Content-Length: %d\r\nContent-Length: 1", b"X: %d",
    b"Content-Length : %d", b"Content-Length: %d;", b"Content-Length: 0x%x", b"Content-Length:\r\n %d",
    b"Content-Length: %d_0", b"Content_Length: %d", b"Content-Length: 1%d", b"Content-Length: %d\nX: y",
    b"Content-Length: %d\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: identity\r\nContent-Length: %d",
    b"Content-Length: 1844674407370955161%d",
]  # fmt: skip
CODINGS = [
    b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked ", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding : chunked", b"TE: chunked",
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding:",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Transfer_Encoding: chunked",
    b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: chunked\nX: y",
]  # fmt: skip
SOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
)
FIELDS = [
    b"Accept: */*", b"Expect: 100-continue", b"Cookie: a=b; c", b"X-Forwarded-For: 10.0.0.1", SOCKET,
    b"Connection: upgrade\r\nUpgrade: h2c", b"Connection: keep-alive, Upgrade\r\nUpgrade: x", b"Upgrade: websocket",
    b"Connection: upgrade", b"Connection: close", b"Connection: keep-alive", b"Connection: x, Close", b"TE: trailers",
    b"Connection: close\r\nConnection: keep-alive", b"Connection: closed", b"Trailer: X-Forwarded-For",
    b"Connection: upgrade, close\r\nUpgrade: x", b"Keep-Alive: timeout=5",
]  # fmt: skip
ODD_FIELDS = [
    b"", b"A: b\r\n c\r\n", b"A\r\n", b"A b: c\r\n", b": c\r\n", b"A: b\0c\r\n", b"A: \x7f\r\n", b"A: \xff\r\n",
    b"A\x80: b\r\n", b" A: b\r\n", b"A: b\nB: c\r\n", b"A: b\rB: c\r\n", b"A:\r\n", b"\tA: b\r\n", b"A: b\r\n\tc\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\nUpgrade: websocket\r\n", b"HTTP2-Settings: AAM\r\n",
    b"a" * 300 + b": b\r\n", b"\r\n",
]  # fmt: skip
SIZES = [b"%x", b"%X", b"0%x", b"0x%x", b"%x ", b" %x", b"-%x", b"1%x", b"%x0", b"%x;a=b", b'%x;a="b"', b"+%x"]
ENDS_OF_CHUNKS = [b"\r\n", b"\n", b"\r", b"", b"\r\n\r\n", b"xx"]
LAST_CHUNKS = [b"0", b"00", b"0;a", b"", b"0 ", b"0" * 20]  # h11 takes no more digits
TRAILERS = [
    b"", b"X-Forwarded-For: 10.0.0.1\r\n", b"A: b\r\nC: d\r\n", b"Content-Length: 5\r\n", b"A: b\n", b" ",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
]  # fmt: skip
BETWEEN = [b"", b"\r\n", b"\n", b"\r", b" ", b"x", b"\r\n\r\n", b"0\r\n\r\n", b"\0", INNER]


KINDS = [
    METHODS, WITH_BODIES, SPACES, TARGETS, VERSIONS, ENDS, HOSTS, LENGTHS, CODINGS, ODD_FIELDS, SIZES, ENDS_OF_CHUNKS,
    LAST_CHUNKS, TRAILERS, BETWEEN,
]  # fmt: skip


class Writer:
    """Writes as usual, but for up to three oddities."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.odd = [draw(st.sampled_from(KINDS)) for _ in range(draw(st.integers(0, 3)))]

    def pick(self, choices: list[bytes]) -> bytes:
        if choices not in self.odd or not self.draw(st.integers(0, 2)):
            return choices[0]
        self.odd.remove(choices)
        return self.draw(st.sampled_from(choices[1:]))

    def request(self) -> bytes:
        """One request, with a body or without."""
        framing = self.draw(st.sampled_from(["none", "length", "chunks"]))
        method, body = self.pick(METHODS if framing == "none" else WITH_BODIES), b""
        fields = self.draw(st.lists(st.sampled_from(FIELDS), max_size=2))
        if framing == "length":
            body, length = self.draw(st.sampled_from(CONTENTS) | st.binary(max_size=12)), self.pick(LENGTHS)
            fields.append(length % len(body))
        elif framing == "chunks":
            body = self.chunks()
            fields.append(self.pick(CODINGS))
        fields.insert(self.draw(st.integers(0, len(fields))), self.pick(HOSTS))
        target = self.draw(st.sampled_from(TARGETS[:3])) if self.draw(st.booleans()) else self.pick(TARGETS)
        line = method + self.pick(SPACES) + target + self.pick(SPACES) + self.pick(VERSIONS)
        head = b"".join(each + self.pick(ENDS) for each in (line, *fields)) + self.pick(ODD_FIELDS)
        return head + self.pick(ENDS) + body

    def chunks(self) -> bytes:
        """A body in chunks."""
        sent = b""
        for content in self.draw(st.lists(st.sampled_from(CONTENTS[1:]), max_size=2)):
            sent += self.pick(SIZES) % len(content) + self.pick(ENDS) + content + self.pick(ENDS_OF_CHUNKS)
        return sent + self.pick(LAST_CHUNKS) + self.pick(ENDS) + self.pick(TRAILERS) + self.pick(ENDS)


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """What a client sends on one connection, in the pieces that it arrives in."""
    writer = Writer(draw)
    parts = [writer.request() + writer.pick(BETWEEN) for _ in range(draw(st.integers(1, 3)))]
    sent = b"".join(parts)
    how = draw(st.sampled_from(["whole", "bytes", "parts", "anyhow", "anyhow"]))
    if how == "bytes":
        return [bytes([byte]) for byte in sent]
    if how == "parts":
        return parts
    cuts = draw(st.lists(st.integers(0, len(sent)), max_size=3)) if how == "anyhow" else []
    return [sent[begin:end] for begin, end in pairwise(sorted({0, len(sent), *cuts}))]
