"""Forms read in pieces of every size."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from python_multipart.multipart import MultipartParser
from starlette.requests import Request
from starlette.types import Message

from echod.errors import EchodError
from echod.server.budget import Budget
from echod.server.multipart import MAX_FIELD, MAX_HEADER, MAX_HEADERS, MAX_PARTS, SLICE, parts

SHARE = {"share": Budget(lambda: 1 << 30).share("ada")}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nhello\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a \\"b\\".png"\r\nContent-Type: image/png\r\n\r\n'
    b"\r\n--c is not the end\r\n--\0\xff\r\n"
    b'--b\r\nContent-Disposition: form-data; name="empty"; filename=""\r\n\r\n\r\n--b--\r\n'
)


def request(body: bytes, size: int, content_type: str = "multipart/form-data; boundary=b") -> Request:
    """A request whose body arrives `size` bytes at a time."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    async def receive() -> Message:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    return Request({"type": "http", "headers": [(b"content-type", content_type.encode())], "state": SHARE}, receive)


async def read(
    body: bytes, size: int = 65536, content_type: str = "multipart/form-data; boundary=b"
) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    async for part in parts(request(body, size, content_type)):
        data = b"".join([chunk async for chunk in part.chunks()])
        found.append((part.name, str(part.filename), data.decode("latin-1")))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65536])
async def test_any_piece_size(size: int) -> None:
    """A form is the same however its bytes are cut."""
    assert await read(FORM, size) == [
        ("prompt", "None", "hello"),
        ("file", 'a "b".png', "\r\n--c is not the end\r\n--\0\xff"),
        ("empty", "", ""),
    ]


async def test_bytes_are_handed_on_as_they_come() -> None:
    """A part's first bytes can be read while the client has not sent the rest."""
    sent = 0

    async def receive() -> Message:
        nonlocal sent
        sent += 1
        head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' if sent == 1 else b""
        return {"type": "http.request", "body": head + b"x" * 1000, "more_body": True}

    scope = {"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=b")], "state": SHARE}
    form = parts(Request(scope, receive))
    chunks: AsyncIterator[bytes] = (await anext(form)).chunks()
    await anext(chunks)
    assert sent == 1
    for _ in range(50):
        await anext(chunks)
    assert sent <= 53


async def test_unread_part_is_skipped() -> None:
    """The next part follows even if nobody read the last one."""
    assert [part.name async for part in parts(request(FORM, 5))] == ["prompt", "file", "empty"]


@pytest.mark.parametrize("end", [1, 20, 60, 100, len(FORM) - 8])
async def test_cut_short(end: int) -> None:
    """A form without its last boundary is refused, not taken for complete."""
    with pytest.raises(EchodError, match="multipart body") as refusal:
        await read(FORM[:end])
    assert refusal.value.code == "invalid_request"


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"anything", "multipart/form-data", "boundary"),
        (b"anything", "multipart/form-data; boundary=" + "b" * 300, "malformed"),
        (b"anything", "multipart/form-data; boundary=b", "malformed"),
        (b"--b\r\nno header\r\n\r\n", "multipart/form-data; boundary=b", "malformed"),
        (b"--b\r\n" + b"x" * 100_000, "multipart/form-data; boundary=b", "malformed"),
        (b"--b\r\nX: y\r\n\r\nbody\r\n--b--\r\n", "multipart/form-data; boundary=b", "no name"),
        (b"", "multipart/form-data; boundary=b", "ends before"),
        (b"{}", "application/json", "must be multipart"),
    ],
)
async def test_malformed(body: bytes, content_type: str, words: str) -> None:
    """What is no form is refused with invalid_request."""
    with pytest.raises(EchodError, match=words) as refusal:
        await read(body, 100, content_type)
    assert refusal.value.code == "invalid_request"


@pytest.mark.parametrize(
    "headers",
    [b"X: y\r\n" * (MAX_HEADERS + 1), b"X: " + b"y" * MAX_HEADER, b"X" * (MAX_HEADER + 1), b"X: y\r\n" * 100_000],
    ids=["many", "long", "a long name", "very many"],
)
@pytest.mark.parametrize("size", [100, 1 << 20])
async def test_headers_of_a_part(headers: bytes, size: int) -> None:
    """They are bounded in number and bytes, however they arrive; what more there is of them is not looked at."""
    with pytest.raises(EchodError, match=f"malformed.*{MAX_HEADERS} headers of {MAX_HEADER} bytes"):
        await read(b"--b\r\n" + headers, size)


async def test_headers_within_the_limits() -> None:
    """As many and as long headers as are allowed are read."""
    longest = b'Content-Disposition: form-data; name="p"; filename="' + b"f" * 4000 + b'"\r\n'
    body = b"--b\r\n" + longest + b"X: y\r\n" * (MAX_HEADERS - 1) + b"\r\nbody\r\n--b--\r\n"
    assert await read(body) == [("p", "f" * 4000, "body")]


async def test_little_is_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much has arrived, it is parsed a little at a time, and no further than the limit of parts."""
    sizes: list[int] = []
    write = MultipartParser.write

    def watched(self: MultipartParser, data: bytes) -> int:
        sizes.append(len(data))
        return write(self, data)

    monkeypatch.setattr(MultipartParser, "write", watched)
    with pytest.raises(EchodError, match="parts"):
        await read(b'--b\r\nContent-Disposition: form-data; name="p"\r\n\r\n\r\n' * 100_000, 1 << 20)
    assert sizes == [SLICE]


async def test_a_content_type_that_is_long() -> None:
    """It is not searched for a boundary."""
    with pytest.raises(EchodError, match="at most 1000"):
        await read(FORM, content_type='multipart/form-data; boundary="b' + ";" * 60_000 + '"')


async def test_too_many_parts() -> None:
    """A form of endless small parts is cut off."""
    part = b'--b\r\nContent-Disposition: form-data; name="p"\r\n\r\n\r\n'
    assert len(await read(part * MAX_PARTS + b"--b--\r\n")) == MAX_PARTS
    with pytest.raises(EchodError, match=f"more than {MAX_PARTS} parts"):
        await read(part * (MAX_PARTS + 1) + b"--b--\r\n")


async def test_field_limits() -> None:
    """A text field is bounded, and must be text."""
    head, end = b'--b\r\nContent-Disposition: form-data; name="p"\r\n\r\n', b"\r\n--b--\r\n"
    async for part in parts(request(head + b"x" * MAX_FIELD + end, 1000)):
        assert len(await part.text()) == MAX_FIELD
    for value, words in ((b"x" * (MAX_FIELD + 1), "longer than"), (b"\xff", "UTF-8")):
        with pytest.raises(EchodError, match=words) as refusal:
            async for part in parts(request(head + value + end, 1000)):
                await part.text()
        assert refusal.value.param == "p"
