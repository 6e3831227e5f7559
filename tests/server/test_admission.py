"""What is decided before a body is read, and how refusals reach the client."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from echod.server.admission import MAX_LOGIN, MAX_OTHER, MAX_SUBMISSION
from tests.drivers.asking import refusal
from tests.drivers.wire import FILE_HEAD, FORM, Wire
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import PORTRAIT

pytestmark = pytest.mark.timeout(60)

MAX_UPLOAD = 100_000


@pytest.fixture
def limits() -> dict[str, object]:
    return {"max_upload": MAX_UPLOAD, "queue_limit": 1}


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/v1/files", FORM | {"Content-Length": MAX_UPLOAD + (1 << 20) + 1}, 413, b"payload_too_large"),
        ("/v1/videos", FORM | {"Content-Length": 2 * MAX_UPLOAD + (1 << 20) + 1}, 413, b"payload_too_large"),
        ("/v1/videos", {"Host": "localhost", "Content-Length": MAX_SUBMISSION + 1}, 413, b"payload_too_large"),
        ("/v1/account/login", {"Host": "localhost", "Content-Length": 8 * 1024 + 1}, 413, b"payload_too_large"),
        ("/v1/account/login", FORM | {"Content-Length": 8 * 1024 + 1}, 413, b"payload_too_large"),
        ("/v1/account/tokens", {"Host": "localhost", "Content-Length": MAX_OTHER + 1}, 413, b"payload_too_large"),
        ("/v1/videos/video_x/cancel", FORM | {"Content-Length": MAX_OTHER + 1}, 413, b"payload_too_large"),
        ("/nowhere", FORM | {"Content-Length": 1 << 40}, 413, b"payload_too_large"),
        ("/v1/files", FORM | {"Content-Length": 10, "Host": "evil.example"}, 403, b"forbidden"),
        ("/v1/videos", FORM | {"Content-Length": 10, "Origin": "http://evil.example"}, 403, b"forbidden"),
    ],
)
async def test_refused_before_the_body(
    daemon: Daemon, path: str, headers: dict[str, Any], status: int, code: bytes
) -> None:
    """A body that is too large or a caller who may not is refused without a byte of the body being sent."""
    wire = await Wire.open(daemon)
    await wire.head("POST", path, headers | {"Expect": "100-continue"})
    answer = await wire.answer()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert code in answer
    assert b"connection: close" in answer
    wire.writer.close()


async def test_limit_names_the_setting(daemon: Daemon) -> None:
    """A body over the limit is told the limit and what raises it."""
    wire = await Wire.open(daemon)
    await wire.head("POST", "/v1/files", FORM | {"Content-Length": 1 << 30})
    answer = await wire.answer()
    assert str(MAX_UPLOAD).encode() in answer or str(MAX_UPLOAD + (1 << 20)).encode() in answer
    assert b"max_upload" in answer
    wire.writer.close()


@pytest.mark.parametrize("why", ["queue_full", "draining"])
async def test_no_more_jobs(daemon: Daemon, why: str) -> None:
    """With a full queue or while draining, a job is refused before its body is read; other requests are answered."""
    if why == "queue_full":
        await daemon.submit()
    else:
        daemon.desk.draining = True
    wire = await Wire.open(daemon)
    await wire.head("POST", "/v1/videos", FORM | {"Content-Length": 50_000})
    answer = await wire.answer()
    assert why.encode() in answer
    assert b"retry-after: " in answer
    wire.writer.close()
    assert await daemon.upload(PORTRAIT)


async def test_client_that_sends_first_and_reads_later_sees_the_refusal(daemon: Daemon) -> None:
    """A client that writes its whole body before it reads gets the answer, not a reset connection."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    daemon.desk.draining = True
    for headers in ({"Content-Length": str(10_000_000)}, {}):
        answer = await daemon.http.post("/v1/videos", content=body(), headers=FORM | headers)
        assert refusal(answer)[0] in (413, 503)


async def test_chunked_body_over_the_limit(daemon: Daemon) -> None:
    """A body that does not say its length is counted as it comes, and refused with the file's limit."""
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield FILE_HEAD
        for _ in range(200):
            sent += 100_000
            yield b"x" * 100_000

    answer = await daemon.http.post("/v1/files", content=body(), headers=FORM)
    assert refusal(answer) == (413, "payload_too_large", "file")
    assert daemon.stored_files() == []


@pytest.mark.parametrize(("path", "limit"), [("/v1/videos", MAX_SUBMISSION), ("/v1/account/login", MAX_LOGIN)])
async def test_chunked_json_over_the_limit(daemon: Daemon, path: str, limit: int) -> None:
    """A JSON body without a length is counted as well: what is one byte too long is never decoded."""

    async def body(size: int) -> AsyncIterator[bytes]:
        yield b" " * 1000
        yield b" " * (size - 1000)

    person = await daemon.person("ada", "admin")
    for size, code in ((limit + 1, "payload_too_large"), (limit, "invalid_request")):
        answer = await person.http.post(path, content=body(size), headers={"Content-Type": "application/json"})
        assert refusal(answer)[1] == code


async def test_longest_submission(daemon: Daemon) -> None:
    """JSON that uses all that its fields may have, written as long as it can be, is no more than a body may have."""
    portrait = {"file_id": await daemon.upload(PORTRAIT)}
    metadata = {f"{number:x}" + "\N{GRINNING FACE}" * 63: "\N{GRINNING FACE}" * 512 for number in range(16)}
    longest = {"input_reference": portrait, "prompt": "\N{GRINNING FACE}" * 10_000, "metadata": metadata}
    body = json.dumps(longest, ensure_ascii=True)
    assert len(body) > 200_000
    answer = await daemon.http.post("/v1/videos", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text


async def test_each_file_has_its_limit(daemon: Daemon) -> None:
    """Portrait and speech may both be as large as max_upload, and neither larger."""
    right = {"input_reference": ("p", b"a" * MAX_UPLOAD), "audio_reference": ("s", b"s" * MAX_UPLOAD)}
    assert (await daemon.http.post("/v1/videos", files=right)).status_code == 200
    await daemon.hands.begin()
    large = right | {"audio_reference": ("s", b"s" * (MAX_UPLOAD + 1))}
    assert refusal(await daemon.http.post("/v1/videos", files=large)) == (413, "payload_too_large", "audio_reference")


async def test_keep_alive_after_an_answer(daemon: Daemon) -> None:
    """A request whose body was read leaves the connection open for the next."""
    answer = await daemon.http.post("/v1/videos", json={})
    assert answer.status_code == 400
    assert "connection" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/files", "/v1/videos"])
async def test_client_that_vanishes(daemon: Daemon, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """A client that disconnects half way through an upload leaves no file, no job and no task."""
    wire = await Wire.open(daemon)
    await wire.head("POST", path, FORM | {"Content-Length": 90_000})
    wire.writer.write(FILE_HEAD.replace(b'"file"', b'"input_reference"' if "videos" in path else b'"file"'))
    wire.writer.write(b"x" * 30_000)
    await wire.writer.drain()
    tasks = daemon.front.state.tasks
    while not daemon.stored_files():
        await asyncio.wait(tasks, timeout=0.005) if tasks else await asyncio.sleep(0.005)
    wire.writer.transport.abort()
    while tasks:
        await asyncio.wait(tasks, timeout=10)
    assert daemon.stored_files() == []
    assert len(daemon.desk.queue) == 0
    assert not caplog.records


async def test_body_that_stalls(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that stops half way does not hold its connection and its file for ever."""
    monkeypatch.setattr("echod.server.admission.BODY_STALL", 0.05)
    monkeypatch.setattr("echod.server.admission.LINGER", 0.05)
    wire = await Wire.open(daemon)
    await wire.head("POST", "/v1/files", FORM | {"Content-Length": 90_000})
    wire.writer.write(FILE_HEAD)
    answer = await wire.answer()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert await wire.reader.read() == b""
    assert daemon.stored_files() == []
    wire.writer.close()


async def test_failure_inside(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error nobody foresaw is logged with its traceback, and the client learns only that it happened."""

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(daemon.desk, "find", broken)
    answer = await daemon.http.get("/v1/videos/video_x")
    assert refusal(answer) == (500, "internal", None)
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError
    assert record.getMessage() == "GET /v1/videos/video_x failed"


async def test_failure_under_way(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error after an answer has begun breaks the connection off."""

    async def broken(*_: object) -> AsyncIterator[bytes]:
        yield b"some"
        raise ZeroDivisionError

    monkeypatch.setattr("echod.server.routes.stream.Stream._follow", broken)
    job_id = await daemon.submit()
    await daemon.hands.grow(await daemon.hands.begin(), b"x")
    with pytest.raises(httpx.RemoteProtocolError):
        await daemon.http.get(f"/v1/videos/{job_id}/stream")


async def test_headers_of_every_answer(daemon: Daemon) -> None:
    """Every answer forbids guessing its type, refusals included."""
    for path in ("/healthz", "/nowhere", "/v1/videos", "/docs"):
        answer = await daemon.http.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_upload_that_waits_while_the_front_closes(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """An upload whose inspection outlasts the grace time is told `draining`; nothing of it is kept, or logged."""
    inspecting = asyncio.Event()

    async def inspect(*_: Any, **__: Any) -> None:
        inspecting.set()
        await asyncio.Event().wait()

    daemon.inspector.inspect = inspect
    uploading = asyncio.create_task(
        daemon.http.post("/v1/files", files={"file": PORTRAIT}, data={"purpose": "user_data"})
    )
    await inspecting.wait()
    await daemon.front.close(grace=0.0)
    answer = await uploading
    assert refusal(answer)[:2] == (503, "draining")
    assert answer.headers["Retry-After"]
    assert daemon.stored_files() == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
