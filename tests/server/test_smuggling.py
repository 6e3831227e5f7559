"""A second request inside the first: what a stranger's proxy carries as a body never becomes a request of its own."""

from __future__ import annotations

import asyncio
import json
from itertools import product
from pathlib import Path

import pytest

from tests.drivers.asking import until
from tests.drivers.wire import H2C, LATE, OTHERS, PROXY, SECOND, SOCKET, WEBSOCKET, Wire, posting, served
from tests.stand_ins.daemon import PASSWORD, Daemon
from tests.stand_ins.hands import PORTRAIT

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=[False, True], ids=["no accounts", "accounts"])
async def people(request: pytest.FixtureRequest, daemon: Daemon) -> list[str]:
    """Names of all accounts there are."""
    if request.param:
        await daemon.person("anna", "admin")
    return [account.name for account in daemon.accounts.all()]


async def nobody_came(daemon: Daemon, people: list[str], answers: bytes) -> None:
    assert answers.count(b"HTTP/1.1 ") == 1, answers
    assert b" 101 " not in answers
    assert [account.name for account in daemon.accounts.all()] == people
    await until(lambda: not daemon.front.transports)


@pytest.mark.parametrize("by", ["tcp", "unix"])
@pytest.mark.parametrize("in_one_piece", [True, False])
async def test_body_behind_another_upgrade(daemon: Daemon, people: list[str], by: str, in_one_piece: bool) -> None:
    """The body is a body, be it a request or the beginning of a WebSocket: one answer, and no second request."""
    for number, (upgrade, body, chunked) in enumerate(product(OTHERS, (SECOND, LATE, SOCKET), (False, True)), 1):
        attack = posting(body, PROXY, upgrade, chunked=chunked)
        head = len(attack) if in_one_piece else attack.index(b"\r\n\r\n") + 4
        wire = await Wire.open(daemon, by)
        wire.writer.write(attack[:head])
        if not in_one_piece:
            await until(lambda: bool(daemon.front.state.tasks))
            wire.writer.write(attack[head:])
        await nobody_came(daemon, people, await wire.rest())
        assert served(daemon) == number


@pytest.mark.parametrize("by", ["tcp", "unix"])
async def test_request_behind_an_upgrade(daemon: Daemon, people: list[str], by: str) -> None:
    """Nothing that is sent behind a head with an Upgrade is a request."""
    for upgrade, body in product((*OTHERS, WEBSOCKET), (None, "", "{}")):
        wire = await Wire.open(daemon, by)
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{PROXY}{upgrade}{length}\r\n"
        wire.writer.write(f"{head}{body or ''}{SECOND}".encode())
        await nobody_came(daemon, people, await wire.rest())
    assert served(daemon) == 3 * len(OTHERS)


@pytest.mark.parametrize("by", ["tcp", "unix"])
async def test_websocket_with_a_body(daemon: Daemon, people: list[str], by: str) -> None:
    """It is refused, and what it announced as its body is read by nobody."""
    for chunked in (False, True):
        wire = await Wire.open(daemon, by)
        wire.writer.write(posting(SECOND, PROXY, WEBSOCKET, chunked=chunked))
        answers = await wire.rest()
        assert answers.startswith(b"HTTP/1.1 400 ")
        assert json.loads(answers.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_request"
        await nobody_came(daemon, people, answers)
    assert served(daemon) == 0


@pytest.mark.parametrize("by", ["tcp", "unix"])
async def test_a_proxys_connection_stays_one(daemon: Daemon, people: list[str], by: str) -> None:
    """Where one request came through a proxy, all later ones did, whatever their headers say; so with WebSockets."""
    for second in (SECOND.encode(), SOCKET.encode()):
        wire = await Wire.open(daemon, by)
        wire.writer.write(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{PROXY}\r\n".encode())
        assert b" 200 " in await wire.answer()
        wire.writer.write(second)
        assert (await wire.answer()).split()[1] == (b"401" if people else b"403")
        wire.writer.close()
    assert [account.name for account in daemon.accounts.all()] == people


async def test_trailers_are_no_headers(daemon: Daemon) -> None:
    """What comes behind a body says nothing about who sent it."""
    anna = await daemon.person("anna", "admin")
    wire = await Wire.open(daemon, "tcp")
    head = "GET /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire.writer.write(f"{head}0\r\nAuthorization: Bearer {anna.token}\r\n\r\n".encode())
    assert (await wire.answer()).startswith(b"HTTP/1.1 401 ")
    wire.writer.close()


# Honest clients


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_offer_of_h2c(daemon: Daemon, chunked: bool) -> None:
    """A client that offers HTTP/2 with its request is served by HTTP/1.1, body and all, and may connect again."""
    await daemon.person("anna", "admin")
    wire = await Wire.open(daemon, "tcp")
    body = json.dumps({"name": "anna", "password": PASSWORD})
    wire.writer.write(posting(body, H2C, chunked=chunked, path="/v1/account/login"))
    answers = await wire.rest()
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answers.lower()
    assert json.loads(answers.partition(b"\r\n\r\n")[2])["name"] == "anna"


async def test_upload_with_an_offer_of_h2c(daemon: Daemon) -> None:
    """Not even a large form is lost."""
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQ"}
    content = PORTRAIT + bytes(3_000_000)
    answer = await daemon.http.post("/v1/files", files={"file": ("p.png", content)}, headers=headers)
    assert (answer.status_code, answer.json()["bytes"]) == (200, len(content))
    assert (await daemon.http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("connection", ["upgrade", "Upgrade", "keep-alive"])
async def test_what_a_websocket_recipe_adds(daemon: Daemon, connection: str) -> None:
    """A proxy that sends `Connection: upgrade` with whatever it passes on may go on using its connection."""
    headers = {"Connection": connection}
    for _ in range(2):
        answer = await daemon.http.get("/healthz", headers=headers)
        assert "connection" not in answer.headers
    assert len(daemon.front.transports) == 1


# Sent ahead of an answer

TRIES = 200


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def stream_of_a_waiting_job(daemon: Daemon) -> str:
    """A request whose answer does not come before the job does."""
    return f"GET /v1/videos/{await daemon.submit()}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize("behind", [SOCKET, SECOND, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "\r\n", "x"])
async def test_sent_behind_an_answer_that_is_due(daemon: Daemon, caplog: pytest.LogCaptureFixture, behind: str) -> None:
    """Two hundred clients that send more while an answer is due, and leave, leave nothing behind, nor a line each."""
    ahead = await stream_of_a_waiting_job(daemon)
    tasks, watchers, before = asyncio.all_tasks(), len(daemon.desk.feed.watchers), descriptors()
    connections = len(daemon.front.transports)
    for number in range(TRIES):
        wire = await Wire.open(daemon, "unix" if number % 2 else "tcp")
        wire.writer.write((ahead + behind).encode())
        if number % 3:  # the others leave before anybody has looked
            await until(lambda: len(daemon.desk.feed.watchers) > watchers)
        wire.writer.transport.abort()
        await until(lambda: len(daemon.desk.feed.watchers) == watchers)
    await until(lambda: len(daemon.front.transports) == connections)
    await until(lambda: asyncio.all_tasks() <= tasks)
    assert len(daemon.desk.feed.watchers) == watchers
    assert descriptors() <= before
    assert caplog.messages == []


async def test_websocket_asked_for_too_early(daemon: Daemon) -> None:
    """While an answer is due no WebSocket is opened; the answer comes, then the refusal, then the end."""
    ahead = await stream_of_a_waiting_job(daemon)
    wire = await Wire.open(daemon, "tcp")
    wire.writer.write((ahead + SOCKET).encode())
    await daemon.hands.complete(await daemon.hands.begin(), b"0123456789")
    answers = await wire.rest()
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b"\r\n\r\n0123456789HTTP/1.1 400 " in answers
    assert "once the request before it is answered" in answers.decode()


@pytest.mark.parametrize("one_by_one", [True, False])
async def test_requests_sent_ahead_are_answered_in_turn(daemon: Daemon, one_by_one: bool) -> None:
    """Whatever sizes they come in: all bytes at once, or one by one."""
    body = json.dumps({"name": "nobody", "password": "x"})
    ahead = posting(body) + b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + posting(body, chunked=True)
    wire = await Wire.open(daemon, "tcp")
    for piece in [bytes([byte]) for byte in ahead] if one_by_one else [ahead]:
        wire.writer.write(piece)
        await wire.writer.drain()
    assert [(await wire.answer())[9:12] for _ in range(3)] == [b"400", b"200", b"400"]
    wire.writer.close()


@pytest.mark.parametrize(
    "behind", [SECOND, SOCKET, "\r\n", "\r", "\n\r\n", "0\r\n\r\n", "GE", f"\r\n{SECOND}", "x\r\n\r\n"]
)
async def test_nothing_may_come_along_behind_a_body_in_chunks(daemon: Daemon, behind: str) -> None:
    """Where such a body ends in what came is not known: it is answered, and whatever came along with it is not read."""
    wire = await Wire.open(daemon, "tcp")
    wire.writer.write(posting("{}", chunked=True) + behind.encode())
    answer = await wire.answer()
    wire.writer.write(SECOND.encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert await wire.rest() == b""
    assert served(daemon) == 1
