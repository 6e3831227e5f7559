"""The listening server: HTTP and WebSockets on one TCP port and one unix socket.

A `websockets` server owns both. Every connection begins as HTTP, lent to uvicorn's protocol, which runs the app; when a
client upgrades, uvicorn hands the transport back through `ws_protocol_class`. uvicorn does not document that seam:
pyproject.toml caps its version, and tests/server/test_front.py notices when it moves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import ServerState
from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from echod.errors import EchodError
from echod.host.descriptors import most_connections
from echod.server.caller import Address, Caller
from echod.server.front.connection import Connection
from echod.server.front.http import HEAD_TIMEOUT, Http, content
from echod.server.front.listening import bind_unix, listen, url

KEEP_ALIVE = 75.0  # seconds; longer than clients keep idle connections, so that they close first
STAGE = 1.0  # seconds that requests have at each stage of closing, after the first
MAX_MESSAGE = 64 * 1024  # bytes of one WebSocket message from a client
REALTIME = Subprotocol("realtime")  # the subprotocol that OpenAI's clients speak in browsers

SERVICE_RESTART = 1012  # RFC 6455, IANA registry of close codes


Handler = Callable[[Connection], Awaitable[None]]
Deciding = Callable[[Iterable[tuple[str, str]], Address | None, Address | None], Caller]


class Front:
    """Serves `app` over HTTP and `sockets` (path -> handler) over WebSockets, to callers that `caller` lets in."""

    def __init__(self, app: ASGIApp, sockets: Mapping[str, Handler], caller: Deciding) -> None:
        # proxy_headers would let a client choose its own address.
        self.config = Config(
            app, http="httptools", ws="none", lifespan="on", proxy_headers=False, log_config=None, access_log=False,
            timeout_keep_alive=int(KEEP_ALIVE),
        )  # fmt: skip
        self.config.load()
        self.state = ServerState()
        self.app_state: dict[str, Any] = {}
        self.most_connections = most_connections()
        self.transports: set[asyncio.BaseTransport] = set()  # of every open connection
        self.closing = False
        self._sockets = sockets
        self._caller = caller
        self._servers: list[Server] = []
        self._open: set[Connection] = set()  # WebSockets
        self._socket_file: tuple[Path, int] | None = None
        for name in ("uvicorn", "websockets"):  # they tell every connection at level info
            logging.getLogger(name).setLevel(logging.WARNING)

    async def start(self, host: str, port: int, socket_path: Path | None = None) -> None:
        """Listen on both. ConfigurationError for an address that cannot be had; then nothing listens."""
        self._lifespan = LifespanOn(self.config)
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise RuntimeError("the app did not start")
        self.app_state = self._lifespan.state
        try:
            if socket_path is not None:
                sock = bind_unix(socket_path)
                self._socket_file = (socket_path, socket_path.stat().st_ino)
                self._servers.append(await unix_serve(self._serve, sock=sock, **self._options()))
            self._servers.append(await listen(host, port, self._serve, self._options()))
        except BaseException:
            await self.close()
            raise

    @property
    def addresses(self) -> list[str]:
        """What is listened on: `http://127.0.0.1:8765`, `unix:/run/echod/echod.sock`."""
        names = [sock.getsockname() for server in self._servers for sock in server.sockets]
        return sorted(f"unix:{name}" if isinstance(name, str) else url(name[0], name[1]) for name in names)

    @property
    def tcp_url(self) -> str:
        return next(address for address in self.addresses if address.startswith("http"))

    async def close(self, code: int = SERVICE_RESTART, reason: str = "restart", grace: float = 5.0) -> None:
        """Accept nothing new, close WebSockets with `code`, let HTTP answers end within `grace` seconds, then abort."""
        if self.closing:
            return
        self.closing = True
        for server in self._servers:
            server.close(close_connections=False)  # `websockets` 15 knows one code and no reason
        dismissals = [asyncio.create_task(each.close(code, reason)) for each in self._open]
        for connection in list(self.state.connections):
            connection.shutdown()
        await self._drain(grace)
        await asyncio.gather(*dismissals)
        for server in self._servers:
            await server.wait_closed()
        await self._lifespan.shutdown()
        self._remove_socket_file()

    async def _drain(self, grace: float) -> None:
        """Each stage is for the requests that the one before did not end."""
        await self._tasks_end(grace)
        await self._abort(lambda connection: connection.answering)
        await self._cancel_tasks()  # whoever has no answer yet is told why
        await self._abort(lambda connection: True)
        await self._cancel_tasks()

    async def _abort(self, which: Callable[[Http], bool]) -> None:
        connections = [each for each in self.state.connections if isinstance(each, Http) and which(each)]
        for connection in connections:
            connection.transport.abort()
        if connections:
            await self._tasks_end(STAGE)

    async def _cancel_tasks(self) -> None:
        for task in list(self.state.tasks):
            task.cancel()
        await self._tasks_end(STAGE)

    async def _tasks_end(self, timeout: float) -> None:
        if self.state.tasks:
            await asyncio.wait(self.state.tasks, timeout=timeout)

    def _remove_socket_file(self) -> None:
        if self._socket_file:
            path, inode = self._socket_file
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:  # not the one of a daemon that came after us
                    path.unlink()

    def _options(self) -> dict[str, Any]:
        return {
            "create_connection": self._connection,
            "process_request": self._gate,
            "select_subprotocol": _subprotocol,
            "process_response": _in_our_words,
            "server_header": "echod",
            "compression": None,  # 30 times slower on media, and everything here is media or small
            "max_size": MAX_MESSAGE,
            "max_queue": 1,  # frames read ahead; one may be as large as an utterance
            "open_timeout": HEAD_TIMEOUT,
            "close_timeout": 5,
        }

    def _connection(self, *args: Any, **options: Any) -> Connection:
        connection = Connection(*args, **options)
        connection.front = self
        return connection

    def _gate(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Connection)
        try:
            connection.caller = self._caller(request.headers.raw_items(), *connection.addresses)
            connection.target, connection.host = _target(request.path), request.headers.get("Host")
            if (path := connection.target.path) not in self._sockets:
                raise EchodError(
                    "not_found", f"no WebSocket is served at {path!r}; there is {', '.join(self._sockets)}"
                )
        except EchodError as error:
            return _refusal(connection, error)
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        if self.closing:  # since the handshake began
            await connection.close(SERVICE_RESTART, "restart")
            return
        self._open.add(connection)
        try:
            await self._sockets[connection.target.path](connection)
        finally:
            self._open.discard(connection)


def _target(address: str) -> SplitResult:
    """Of the path and query that a request has by then; `urlsplit` would take //a/b for the host a."""
    path, _, query = address.partition("?")
    return SplitResult("", "", path, query, "")


def _subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Browsers want one of those they offer; beside it they offer what they have to say in place of a header."""
    return REALTIME if REALTIME in offered else None


def _in_our_words(connection: ServerConnection, request: Request, response: Response) -> Response | None:
    """What `websockets` refuses of a handshake, as every other refusal."""
    if response.status_code == 101 or response.headers["Content-Type"] == "application/json":
        return None
    error = EchodError("internal", "no WebSocket was opened; see the daemon's log")
    reason = connection.protocol.handshake_exc
    if isinstance(reason, InvalidHandshake):
        causes = "; ".join(map(str, filter(None, (reason, reason.__cause__))))
        error = EchodError("invalid_request", f"this request opens no WebSocket: {causes}")
    refusal = _refusal(connection, error)
    refusal.headers["Server"] = "echod"  # what the gate refuses has it by now
    return refusal


def _refusal(connection: ServerConnection, error: EchodError) -> Response:
    response = connection.respond(error.status, content(error).decode())
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
