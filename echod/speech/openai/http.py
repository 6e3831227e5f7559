"""Requests to an OpenAI-compatible server, and its answers: JSON or server-sent events, of bounded size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import httpx
import msgspec

from echod.host.secret import Secret
from echod.speech.backend import Call, Failure
from echod.speech.remote.client import OneCall
from echod.speech.remote.failures import NO_JSON, explained, refusal

MAX_ANSWER = 2**18  # bytes of JSON, or of one event; the loop stands while they are decoded
KEEP_ALIVE = 4.0  # seconds; uvicorn, under most of these servers, closes after five
SPEECH = "audio/speech"
WHOLE = ("application/json", "application/problem+json", "text/html", "text/plain")

T = TypeVar("T")


class Server:
    """The server at `url`. What goes wrong with a request is a Failure; nothing is tried twice or timed."""

    def __init__(self, url: str, key: Secret | None) -> None:
        self.url = url
        self._options = {
            "base_url": url,
            "headers": {"Authorization": f"Bearer {key.reveal()}"} if key else {},
            "timeout": None,
            "limits": httpx.Limits(keepalive_expiry=KEEP_ALIVE),
            "verify": httpx.create_ssl_context(),  # loading it takes longer than a call
        }
        self._idle: list[OneCall] = []

    async def close(self) -> None:
        for client in self._idle:
            await client.let_go()

    @asynccontextmanager
    async def request(
        self, method: str, path: str, call: Call, *, private: Sequence[str] = (), **content: Any
    ) -> AsyncIterator[httpx.Response]:
        """The answer, if it is no refusal, with its body to come. `private` is what an error must not repeat."""
        with explained():
            async with self._answer(method, path, content) as response:
                call.request_id = response.headers.get("x-request-id") or call.request_id
                if not response.is_success:
                    answer, speaks = await read(response), path == SPEECH
                    raise refusal(response.status_code, answer, response.headers, speaks=speaks, private=private)
                yield response

    @asynccontextmanager
    async def _answer(self, method: str, path: str, content: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        client = self._idle.pop() if self._idle else OneCall(**self._options)
        try:
            request = client.http.build_request(method, path, **content)
            response = await client.http.send(request, stream=True)
        except BaseException:
            await client.let_go()
            raise
        try:
            yield response
        finally:
            await response.aclose()
            self._idle.append(client)

    async def events(
        self, path: str, body: Mapping[str, Any], call: Call, private: Sequence[str]
    ) -> AsyncGenerator[bytes, None]:
        """The data of server-sent events up to [DONE]; in this protocol each is one line."""
        async with self._stream(path, body, call, private) as response, aclosing(_lines(response)) as lines:
            async for line in lines:
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    break
                if data and line.startswith(b"data:"):
                    yield data

    async def sound(
        self, path: str, body: Mapping[str, Any], call: Call, private: Sequence[str]
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of an answer that is not text."""
        async with self._stream(path, body, call, private) as response:
            async for piece in response.aiter_bytes():
                yield piece

    @asynccontextmanager
    async def _stream(
        self, path: str, body: Mapping[str, Any], call: Call, private: Sequence[str]
    ) -> AsyncIterator[httpx.Response]:
        async with self.request("POST", path, call, private=private, json=body) as response:
            kind = response.headers.get("content-type", "")
            if not kind.startswith(WHOLE):
                yield response
            elif b'"error"' in (answer := await read(response)):
                raise refusal(200, answer, response.headers, speaks=path == SPEECH, private=private)
            else:
                raise Failure("protocol", "the server's answer makes no sense", f"it is all {kind}")


def decode(answer: bytes, kind: type[T]) -> T:
    """What the JSON says. Failure protocol if it is none, or says other things."""
    try:
        return msgspec.json.Decoder(kind, float_hook=float).decode(answer)
    except NO_JSON:
        raise Failure("protocol", "the server's answer makes no sense: it is not the JSON it should be") from None


async def read(response: httpx.Response) -> bytes:
    """The answer, as far as it is of a length that makes sense."""
    answer = b""
    async for piece in response.aiter_bytes():
        answer += piece
        if len(answer) > MAX_ANSWER:
            break
    return answer


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        if max(map(len, (*lines, rest))) > MAX_ANSWER:
            raise Failure("protocol", f"the server's answer makes no sense: an event of more than {MAX_ANSWER} bytes")
        for line in lines:
            yield line
    yield rest
