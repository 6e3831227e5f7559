"""The seam between the websockets server and uvicorn's HTTP protocol, and what the front adds to both."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import gc
import json
import socket
import stat
import struct
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, StreamingResponse
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from echod.errors import ConfigurationError
from echod.server.front import connection as connection_module
from echod.server.front import http as http_module
from echod.server.front import reading
from echod.server.front.connection import Connection
from echod.server.front.front import Front
from echod.server.front.http import Http
from tests.drivers.asking import local_only, until

pytestmark = pytest.mark.timeout(60)


def small_app(log: list[str]) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("started")
        yield {"motto": "from the lifespan"}
        log.append("stopped")

    app = FastAPI(lifespan=lifespan)
    app.state.released = asyncio.Event()

    @app.get("/peer")
    async def peer(request: Request) -> dict[str, Any]:
        return {"client": request.client, "server": request.scope["server"], "motto": request.state.motto}

    @app.post("/form")
    async def form(request: Request) -> dict[str, Any]:
        async with request.form() as form:
            return {name: len(await value.read()) for name, value in form.items() if not isinstance(value, str)}

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(__file__)

    @app.get("/slow")
    async def slow() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            log.append("answering")
            yield b"first "
            await app.state.released.wait()
            yield b"last"

        return StreamingResponse(body())

    return app


async def echo(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message)


class Site:
    """A started front with the small app on TCP and a unix socket."""

    def __init__(self, path: Path) -> None:
        self.log: list[str] = []
        self.app = small_app(self.log)
        self.front = Front(self.app, {"/echo": echo}, local_only)
        self.socket = path / "echod.sock"

    async def start(self) -> None:
        await self.front.start("127.0.0.1", 0, self.socket)
        self.base = next(address for address in self.front.addresses if address.startswith("http"))
        self.port = int(self.base.rpartition(":")[2])

    def http(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base, **options)

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, data: bytes) -> bytes:
        """Everything that comes back for `data` until the server closes."""
        reader, writer = await self.raw()
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    await site.start()
    yield site
    site.app.state.released.set()
    await site.front.close()


async def test_multipart_post(site: Site) -> None:
    """A body reaches the app whole, in many chunks."""
    async with site.http() as http:
        answer = await http.post("/form", files={"file": b"x" * 3_000_000})
    assert answer.json() == {"file": 3_000_000}


async def test_range(site: Site) -> None:
    """A range of a file is answered with 206 and just these bytes."""
    async with site.http() as http:
        answer = await http.get("/file", headers={"Range": "bytes=3-13"})
    assert (answer.status_code, answer.content) == (206, Path(__file__).read_bytes()[3:14])


async def test_websocket(site: Site) -> None:
    """A WebSocket on the same port echoes text and bytes."""
    async with connect(f"{site.base.replace('http', 'ws')}/echo") as ws:
        await ws.send("text")
        assert await ws.recv() == "text"
        await ws.send(b"\0bytes")
        assert await ws.recv() == b"\0bytes"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/echo", {"Origin": "http://evil.example"}, 403, b"forbidden"),
        ("/echo", {"X-Forwarded-For": "127.0.0.1"}, 403, b"forbidden"),
        ("/nothing", {}, 404, b"not_found"),
    ],
)
async def test_refused_handshake(site: Site, path: str, headers: dict[str, str], status: int, code: bytes) -> None:
    """A WebSocket that is not let in gets a status and the error body during the handshake."""
    with pytest.raises(InvalidStatus) as refusal:
        await connect(f"{site.base.replace('http', 'ws')}{path}", additional_headers=headers)
    response = refusal.value.response
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers.get_all("Server") == ["echod"]
    assert code in (response.body or b"")


async def test_upgrade_on_a_reused_connection(site: Site) -> None:
    """A keep-alive connection that has served HTTP can still become a WebSocket."""
    with socket.create_connection(("127.0.0.1", site.port)) as sock:
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await reader.readexactly(length)
        writer.write(
            b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(b"\x81\x82\0\0\0\0hi")  # a masked text frame, mask 0
        assert await reader.readexactly(4) == b"\x81\x02hi"
        writer.close()


async def test_unix_socket(site: Site) -> None:
    """The app recognises the unix socket by (path, None), and WebSockets work over it."""
    transport = httpx.AsyncHTTPTransport(uds=str(site.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        peer = (await http.get("/peer")).json()
    assert peer == {"client": None, "server": [str(site.socket), None], "motto": "from the lifespan"}
    async with unix_connect(str(site.socket), "ws://localhost/echo") as ws:
        await ws.send("text")
        assert await ws.recv() == "text"


async def test_clients_cannot_choose_their_address(site: Site) -> None:
    """The app sees the peer of the connection, whatever a header claims."""
    async with site.http(headers={"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}) as http:
        assert (await http.get("/peer")).json()["client"][0] == "127.0.0.1"


async def test_mode_of_the_unix_socket(site: Site) -> None:
    """Owner and group may use the socket, nobody else; it goes when the front closes."""
    assert stat.S_IMODE(site.socket.stat().st_mode) == 0o660
    await site.front.close()
    assert not site.socket.exists()


async def test_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    """A socket file that a killed daemon left behind does not stop the next one."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "echod.sock"))
    site = Site(tmp_path)
    await site.start()
    await test_unix_socket(site)
    await site.front.close()


async def test_live_socket_is_never_stolen(site: Site) -> None:
    """A second daemon on the same socket is refused, and the first goes on answering on it."""
    with pytest.raises(ConfigurationError, match=r"another daemon listens there.*--runtime-dir"):
        await Site(site.socket.parent).start()
    await test_unix_socket(site)


async def test_busy_socket_is_never_stolen(tmp_path: Path) -> None:
    """A daemon so busy that nobody can connect just now is alive as well."""
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(tmp_path / "echod.sock"))
        busy.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(tmp_path / "echod.sock"))
        with pytest.raises(ConfigurationError, match="another daemon listens there"):
            await Site(tmp_path).start()
        assert (tmp_path / "echod.sock").exists()


async def test_file_in_the_way_of_the_socket(tmp_path: Path) -> None:
    """A plain file with the socket's name is left alone."""
    (tmp_path / "echod.sock").write_text("mine")
    with pytest.raises(ConfigurationError, match="no socket"):
        await Site(tmp_path).start()
    assert (tmp_path / "echod.sock").read_text() == "mine"


async def test_port_in_use(tmp_path: Path) -> None:
    """A taken port is named, with the settings that choose another; the unix socket is given up again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        front = Front(small_app([]), {}, local_only)
        with pytest.raises(ConfigurationError, match=rf"port {port} .* in use.*--port.*ECHOD_PORT") as refusal:
            await front.start("127.0.0.1", port, tmp_path / "echod.sock")
    assert refusal.value.param == "port"
    assert not (tmp_path / "echod.sock").exists()


async def test_address_of_another_machine(tmp_path: Path) -> None:
    """An address this machine does not have is refused in the same words."""
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1.*cannot be listened on.*--host"):
        await Front(small_app([]), {}, local_only).start("192.0.2.1", 0)


async def test_standard_headers(site: Site) -> None:
    """Every answer says when it was made, and by what."""
    async with site.http() as http:
        for _ in range(2):
            headers = (await http.get("/peer")).headers
            made = email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
            assert abs(made - time.time()) < 30
            assert headers.get_list("Server") == ["echod"]


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"hello\r\n\r\n", b"\0\0\0\0\0\0\0\0", b"\r\n"]
)
async def test_not_http(site: Site, noise: bytes) -> None:
    """Bytes that are not HTTP, a TLS handshake for one, get a plain 400."""
    answer = await site.exchange(noise)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer
    assert b"date: " in answer


@pytest.mark.parametrize("line", [b"x" * 1000, b"x: " + b"y" * 1000 + b"\r\n"], ids=["one header", "many headers"])
async def test_head_over_the_limit(site: Site, line: bytes) -> None:
    """A head that does not end is refused once it is over the limit, not collected for ever."""
    head = b"GET /peer HTTP/1.1\r\nHost: localhost\r\na: " + line * (reading.MAX_HEAD // len(line) + 1)
    answer = await site.exchange(head[: reading.MAX_HEAD + 1])
    assert answer.startswith(b"HTTP/1.1 400 ")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == "invalid_request"
    assert "65536 bytes" in error["message"]


POST = b"POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def test_whole_head_over_the_limit(site: Site) -> None:
    """A head that ends only beyond the limit is refused as well, however fast it comes."""
    answer = await site.exchange(POST + b"a: %b\r\n" % (b"x" * reading.MAX_HEAD) + CHUNKED + b"1\r\nx\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    "begun",
    [
        POST + CHUNKED + b"5\r\n--b\r\n\r\n0\r\nTrailer: ",
        POST + CHUNKED + b"5\r\n--b\r\n\r\n1;extension=",
        b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\nGET /peer HTTP/1.1\r\nHeader: ",
    ],
    ids=["trailers", "extension of a chunk", "head of the next request"],
)
@pytest.mark.parametrize("line", [b"x" * 1000, b"x: " + b"y" * 1000 + b"\r\n"], ids=["one", "many"])
async def test_no_body_over_the_limit(site: Site, begun: bytes, line: bytes) -> None:
    """What is neither head nor body has the limit of a head; where an answer is due, the connection is cut."""
    reader, writer = await site.raw()
    writer.write(begun)
    await until(lambda: bool(site.front.state.tasks))
    writer.write(line * (reading.MAX_HEAD // len(line) + 1))
    with contextlib.suppress(ConnectionResetError):
        await reader.read()
    writer.close()
    await until(lambda: not site.front.transports)


async def test_body_in_small_chunks(site: Site) -> None:
    """The framing of a body is no part of the head, though it may be longer than that in all."""
    body = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + bytes(60_000) + b"\r\n--b--\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    answer = await site.exchange(POST + b"Connection: close\r\n" + CHUNKED + chunks + b"0\r\n\r\n")
    assert answer.endswith(b'{"a":60000}')


async def test_requests_ahead_of_answers(site: Site) -> None:
    """Some requests may be sent before the first is answered; whoever sends more is cut off, and nothing piles up."""
    ask = b"GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await site.exchange(ask * 100 + ask.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200 ") == 101
    too_many = reading.MAX_AHEAD // len(ask) + 1
    with contextlib.suppress(ConnectionResetError):  # it may have sent more than was read
        answer = await site.exchange(ask.replace(b"peer", b"slow") + ask * too_many)  # which never ends by itself
        assert answer.count(b"HTTP/1.1 ") <= 1


async def test_pongs_that_nobody_reads(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that pings on and on and reads nothing is cut off; one that reads may go on."""
    monkeypatch.setattr(connection_module, "MAX_UNREAD", 1 << 16)
    pings = (b"\x89\xfd\0\0\0\0" + b"p" * 125) * 1000
    # By TCP some kernels let both ends wait for each other here, until a keepalive ping ends it.
    reader, writer = await asyncio.open_unix_connection(str(site.socket), limit=1 << 16)
    writer.write(f"GET /echo HTTP/1.1\r\n{UPGRADE}\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    for _ in range(3):
        writer.write(pings)
        await reader.readexactly(127 * 1000)
    with pytest.raises(ConnectionError):
        for _ in range(200):
            writer.write(pings)
            await writer.drain()
    writer.close()


async def test_client_that_resets(site: Site) -> None:
    """Nothing is kept of a client that leaves with an answer unread: a timer would hold all of it for 75 s."""
    reader, writer = await site.raw()
    writer.write(b"GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    [protocol] = [weakref.ref(each) for each in site.front.state.connections]
    lost: list[object] = []
    connection_lost = Http.connection_lost

    def watched(self: Http, error: Exception | None) -> None:
        lost.append(error)
        connection_lost(self, error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Http, "connection_lost", watched)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until(lambda: bool(lost))
    assert isinstance(lost[0], ConnectionResetError)
    await until(lambda: protocol() is None or not gc.collect())
    assert protocol() is None


UPGRADE = (
    "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
)


@pytest.mark.parametrize(
    ("query", "headers", "told"),
    [
        ("x" * 8000, "", "8000 bytes of address"),
        ("", f"A: {'x' * 8000}\r\n", "8000 bytes of address and of each header; this one has 8001"),
        ("", "A: b\r\n" * 124, "128 headers; this one has 129"),
        ("", "Content-Length: 5\r\n", "no body"),
        ("", "Transfer-Encoding: chunked\r\n", "no body"),
    ],
    ids=["long address", "long header", "many headers", "body", "body in chunks"],
)
@pytest.mark.parametrize("body", ["", "5\r\nhello\r\n0\r\n\r\n"], ids=["head alone", "with a body"])
async def test_upgrade_over_the_limit(site: Site, query: str, headers: str, told: str, body: str) -> None:
    """A WebSocket asked for with more than `websockets` reads is refused from the error table, not in its words."""
    answer = await site.exchange(f"GET /echo?{query} HTTP/1.1\r\n{UPGRADE}{headers}\r\n{body}".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == "invalid_request"
    assert told in error["message"]


@pytest.mark.parametrize(
    ("query", "headers"),
    [("x" * 7994, ""), ("", f"A: {'x' * 7999}\r\n"), ("", "A: b\r\n" * 123), ("", "Content-Length: 0\r\n")],
    ids=["long address", "long header", "many headers", "empty body"],
)
async def test_upgrade_within_the_limit(site: Site, query: str, headers: str) -> None:
    reader, writer = await site.raw()
    writer.write(f"GET /echo?{query} HTTP/1.1\r\n{UPGRADE}{headers}\r\n".encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("method", "part", "instead", "told"),
    [
        ("GET", f"Sec-WebSocket-Key: {'A' * 22}==\r\n", "", "missing Sec-WebSocket-Key header"),
        ("GET", "A" * 22, "A", "invalid Sec-WebSocket-Key header"),
        ("GET", "Sec-WebSocket-Version: 13\r\n", "", "missing Sec-WebSocket-Version header"),
        ("GET", "Version: 13", "Version: 8", "invalid Sec-WebSocket-Version header: 8"),
        ("PUT", "no part", "", "PUT"),
    ],
)
async def test_wrong_handshake(site: Site, method: str, part: str, instead: str, told: str) -> None:
    """A request that asks for a WebSocket in the wrong way gets the error body too."""
    answer = await site.exchange(f"{method} /echo HTTP/1.1\r\n{UPGRADE.replace(part, instead)}\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert head.lower().count(b"\r\nserver: echod") == 1
    error = json.loads(body)["error"]
    assert (error["code"], told in error["message"]) == ("invalid_request", True), error


async def test_more_connections_than_can_be_held(site: Site) -> None:
    """One too many is refused, be the others idle or WebSockets; once one of either goes, the next is served."""
    site.front.most_connections = 2
    _, idle = await site.raw()
    async with connect(f"{site.base.replace('http', 'ws')}/echo"), site.http() as http:
        refused = await http.get("/peer")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
        assert "2 connections" in refused.json()["error"]["message"]
        assert refused.headers["Retry-After"]
        idle.transport.abort()
        await until(lambda: len(site.front.transports) == 1)
        assert (await http.get("/peer")).status_code == 200
    await until(lambda: not site.front.transports)


@pytest.mark.parametrize("leave", ["write_eof", "close", "abort"])
async def test_client_that_leaves_in_the_handshake(site: Site, caplog: pytest.LogCaptureFixture, leave: str) -> None:
    """Whoever asks for a WebSocket and is gone before the answer is nothing to log an error about."""
    reader, writer = await site.raw()
    writer.write(f"GET /echo HTTP/1.1\r\n{UPGRADE}\r\n".encode())
    getattr(writer.transport, leave)()
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
    await site.front.close()
    assert caplog.messages == []


@pytest.mark.parametrize("sent", [b"", b"GET /peer HT", b"GET /peer HTTP/1.1\r\nHost: local"])
async def test_head_that_does_not_arrive(site: Site, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """A connection that sends no whole head is closed at the deadline."""
    monkeypatch.setattr(http_module, "HEAD_TIMEOUT", 0.05)
    assert await site.exchange(sent) == b""


async def test_deadline_starts_again_for_the_next_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a head on a keep-alive connection is closed at the deadline as well."""
    reader, writer = await site.raw()
    writer.write(b"HEAD /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
    monkeypatch.setattr(http_module, "HEAD_TIMEOUT", 0.05)
    writer.write(b"GET /peer HTTP/1.1\r\n")
    await reader.read()
    writer.close()


async def test_deadline_is_for_the_head_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body may take longer than the head."""
    monkeypatch.setattr(http_module, "HEAD_TIMEOUT", 0.05)

    async def body() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        await asyncio.sleep(0.2)  # the passing of the deadline is the case
        yield b'Content-Disposition: form-data; name="a"; filename="a"\r\n\r\n123\r\n--b--\r\n'

    async with site.http() as http:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert (await http.post("/form", content=body(), headers=headers)).json() == {"a": 3}


async def test_close_tells_websockets_to_come_back(site: Site) -> None:
    """Open WebSockets are closed with 1012 and no task is left."""
    ws = await connect(f"{site.base.replace('http', 'ws')}/echo")
    before = asyncio.all_tasks()
    await site.front.close()
    with pytest.raises(ConnectionClosed):
        await ws.recv()
    assert (ws.close_code, ws.close_reason) == (1012, "restart")
    left = {task for task in asyncio.all_tasks() - {asyncio.current_task()} if "server" in repr(task.get_coro())}
    assert not left, before


async def test_connection_that_arrives_while_closing(site: Site) -> None:
    """A connection accepted just before the front closed is dropped, not served."""
    await site.front.close()
    near, far = socket.socketpair()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: Http(site.front, cast(Connection, None)), far)
    reader, writer = await asyncio.open_connection(sock=near)
    assert await reader.read() == b""
    writer.close()
    assert not site.front.state.connections


async def test_close_lets_answers_end(site: Site) -> None:
    """An answer that is under way is finished before the front is closed; idle connections go at once."""
    _, idle = await site.raw()
    async with site.http() as http, http.stream("GET", "/slow") as answer:
        chunks = answer.aiter_bytes()
        assert await anext(chunks) == b"first "
        closing = asyncio.create_task(site.front.close(grace=30))
        await asyncio.sleep(0)
        assert not closing.done()
        site.app.state.released.set()
        assert await anext(chunks) == b"last"
        await closing
    idle.close()
    assert site.log == ["started", "answering", "stopped"]
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient(base_url=site.base).get("/peer")


async def test_close_does_not_wait_for_ever(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that does not end within the grace time is broken off, and no task is left."""
    async with site.http() as http, http.stream("GET", "/slow") as answer:
        chunks = answer.aiter_bytes()
        await anext(chunks)
        await site.front.close(grace=0.05)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(chunks)
    assert not site.front.state.tasks
    assert not site.front.state.connections
    assert not caplog.records
