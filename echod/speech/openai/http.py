"""Requests to an OpenAI-compatible server, and its answers: JSON or server-sent events, of bounded size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import httpx
import msgspec

from echod.host.secret import Secret
from echod.speech.backend import Call, Failure
from echod.speech.remote.client import Clients, OneCall
from echod.speech.remote.failures import NO_JSON, refusal, unreachable

MAX_ANSWER = 2**18  # bytes of JSON, or of one event; the loop stands while they are decoded
KEEP_ALIVE = 4.0  # seconds; uvicorn, under most of these servers, closes after five
SPEECH = "audio/speech"
WHOLE = ("application/json", "application/problem+json", "text/html", "text/plain")

T = TypeVar("T")


class Server:
    """The server at `url`. What goes wrong with a request is a Failure; nothing is tried twice or timed."""

    def __init__(self, url: str, key: Secret | None) -> None:
        self.url = url
        make = partial(
            OneCall,
            base_url=url,
            headers={"Authorization": f"Bearer {key.reveal()}"} if key else {},
            timeout=None,
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE),
            verify=httpx.create_ssl_context(),  # loading it takes longer than a call
        )
        self._clients = Clients(make)
        self.close = self._clients.close

    @asynccontextmanager
    async def request(
        self, method: str, path: str, call: Call, *, private: Sequence[str] = (), **content: Any
    ) -> AsyncIterator[httpx.Response]:
        """The answer, if it is no refusal, with its body to come. `private` is what an error must not repeat."""

        async def ask(client: OneCall) -> httpx.Response:
            return await client.http.send(client.http.build_request(method, path, **content), stream=True)

        try:
            async with self._clients.asked(ask) as response, aclosing(response):
                call.request_id = response.headers.get("x-request-id") or call.request_id
                if not response.is_success:
                    answer, speaks = await read(response), path == SPEECH
                    raise refusal(response.status_code, answer, response.headers, speaks=speaks, private=private)
                yield response
        except httpx.HTTPError as error:
            raise unreachable(error) from None

    async def events(
        self, path: str, body: Mapping[str, Any], call: Call, private: Sequence[str]
    ) -> AsyncGenerator[bytes, None]:
        """The data of server-sent events up to [DONE]; in this protocol each is one line."""
        async with self.stream(path, body, call, private) as response, aclosing(_lines(response)) as lines:
            async for line in lines:
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    break
                if data and line.startswith(b"data:"):
                    yield data

    @asynccontextmanager
    async def stream(
        self, path: str, body: Mapping[str, Any], call: Call, private: Sequence[str]
    ) -> AsyncIterator[httpx.Response]:
        """The answer, if it is neither a refusal nor text."""
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
