"""A DashScope on the loopback interface: compatible mode, voices over a WebSocket, and every way in which they fail.

A model's name chooses the failure: `qwen3-asr-flash@throttle`. Without one all goes well: hearing tells what it was
given, replying says it back, and speaking makes sound that has the words in it (`words_in`). A WebSocket's handshake
fails by its URL: `server.ws_url + "@silent"`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Handshake
from websockets.http11 import Response

from tests.stand_ins.dashscope_answers import (
    REFUSALS,
    Refusal,
    answer_to,
    at_first,
    chunks,
    completion,
    native_completion,
    parroted,
)
from tests.stand_ins.dashscope_task import Task
from tests.stand_ins.loopback import Exchange, LoopbackServer, Request

KEY = "sk-test-0123456789abcdef"
HTML = "<html><body>Bad Gateway</body></html>"


class Frame(NamedTuple):
    """One thing a client sent: a request, a handshake (without a body), or a frame on a WebSocket."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class DashScopeServer(LoopbackServer):
    """`async with DashScopeServer() as server`; or `with DashScopeServer().in_thread() as server`."""

    key: str = KEY
    retry_after: str | None = None  # said with every 429
    frames: list[Frame] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)  # requests to the endpoints that take files
    asked: Counter[str] = field(default_factory=Counter)  # requests by model name

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._websocket = await serve(
            self._synthesise, "127.0.0.1", 0, process_request=self._admit, open_timeout=None, ping_interval=None
        )
        self.origin = f"http://{self.address}"
        self.url = f"{self.origin}/compatible-mode/v1"
        self.ws_url = f"ws://127.0.0.1:{next(iter(self._websocket.sockets)).getsockname()[1]}/api-ws/v1/inference"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._websocket.connections:
            connection.transport.abort()
        self._websocket.close()
        await self._websocket.wait_closed()
        await super().__aexit__(kind, error, trace)

    def sent(self, path: str) -> list[Any]:
        """The bodies of what was sent to a path, in order."""
        return [frame.body for frame in self.frames if frame.path == path and frame.body is not None]

    def _log(self, path: str, headers: Mapping[str, str], body: Any) -> None:
        self.frames.append(Frame(path, headers, body))
        self._changed.set()

    def _failure(self, name: str, headers: Mapping[str, str]) -> str:
        """What goes wrong, by a model's name or a path; the key does before that."""
        authorized = headers.get("authorization", "") == f"Bearer {self.key}"
        return name.partition("@")[2] if authorized or name.endswith("@echo") else "auth"

    # HTTP

    async def answer(self, request: Request, exchange: Exchange) -> None:
        path = request.path.partition("?")[0]
        if path in ("/api/v1/uploads", "/oss-bucket"):
            self.uploads.append(request.path)
            await exchange.respond(200, self._upload_policy())
            return
        body = request.json
        self._log(path, request.headers, body)
        model = body["model"]
        self.asked[model] += 1
        failure = at_first(self._failure(model, request.headers), self.asked[model])
        if failure in REFUSALS:
            await self._refuse(exchange, REFUSALS[failure])
        elif failure == "slow":
            await exchange.stall()
        elif failure == "drop":
            exchange.abort()
        elif failure == "502html":
            await exchange.respond(502, HTML)
        elif failure == "garbage":
            await exchange.respond(200, "not what you think")
        elif failure == "echo":  # the key and the words, said by the server itself
            said = f"Incorrect API key provided: {request.headers['authorization']} for {answer_to(body)}"
            await self._refuse(exchange, Refusal(401, "invalid_api_key", said))
        elif failure == "parrot":
            await self._refuse(exchange, parroted(answer_to(body)))
        elif path.endswith("/generation"):
            await exchange.respond(200, native_completion("Hello."))
        elif body.get("stream"):
            await _stream(model, failure, answer_to(body), exchange)
        else:
            await exchange.respond(200, completion(model, answer_to(body), failure))

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        error = {"message": refusal.message, "type": "invalid_request_error", "param": None, "code": refusal.code}
        headers = {"Retry-After": self.retry_after} if self.retry_after and refusal.status == 429 else {}
        await exchange.respond(refusal.status, {"error": error, "request_id": "refused"}, headers)

    def _upload_policy(self) -> dict[str, Any]:
        names = ("policy", "signature", "upload_dir", "oss_access_key_id", "x_oss_object_acl", "x_oss_forbid_overwrite")
        data = {**dict.fromkeys(names, "x"), "upload_host": f"{self.origin}/oss-bucket"}
        return {"request_id": "upload", "data": data}

    # WebSocket

    async def _admit(self, connection: ServerConnection, request: Handshake) -> Response | None:
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        self._log(request.path, headers, None)
        failure = self._failure(request.path, headers)
        if failure == "silent":
            self._count(+1)
            await connection.wait_closed()
            self._count(-1)
        elif failure == "drop":
            connection.transport.abort()
        elif failure == "502html":
            return connection.respond(HTTPStatus.BAD_GATEWAY, HTML)
        elif failure in REFUSALS:
            status, code, message = REFUSALS[failure]
            body = {"code": code, "message": message, "request_id": "refused"}
            response = connection.respond(HTTPStatus(status), json.dumps(body))
            if self.retry_after and status == 429:
                response.headers["Retry-After"] = self.retry_after
            return response
        return None

    async def _synthesise(self, connection: ServerConnection) -> None:
        self._count(+1)
        assert connection.request is not None
        path, headers = connection.request.path, connection.request.headers
        with suppress(ConnectionClosed):
            await Task(connection, lambda body: self._log(path, headers, body), self.asked).run()
        await connection.close()
        self._count(-1)


async def _stream(model: str, failure: str, answer: str, exchange: Exchange) -> None:
    """An answer as server-sent events, in chunks of their own. It fails after its second piece, if before its end."""
    await exchange.begin_chunked("text/event-stream")
    for number, piece in enumerate(chunks(model, answer, failure)):
        if number == 2 and failure == "sseabort":
            return exchange.abort()
        if number == 2 and failure == "ssestall":
            return await exchange.stall()
        if number == 2 and failure == "sseerror":
            _, code, message = REFUSALS["throttle"]
            error = json.dumps({"code": code, "message": message, "request_id": "refused"})
            await exchange.chunk(f"event:error\ndata: {error}\n\n".encode())
            break
        garbage = number == 2 and failure == "ssegarbage"
        await exchange.chunk(b"data: {not what you think\n\n" if garbage else f"data: {json.dumps(piece)}\n\n".encode())
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.chunk(b"")
    return None
