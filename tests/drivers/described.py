"""Whether answers are as /openapi.json has it, and what WebSockets tell as /asyncapi.json has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import httpx
import jsonschema_rs
import msgspec

from echod.server import asyncapi
from echod.server.front.connection import Connection
from echod.server.front.front import Handler
from echod.server.openapi import schemas

BEFORE_ROUTES = (400, 401, 403, 413, 429, 503)  # what may be answered before anybody looks for a route


class Answer(NamedTuple):
    """To a request of `method` for `path`, decoded and without its query."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def operations(document: dict[str, Any], path: str) -> dict[str, Any] | None:
    """What is described of a path, by method; the paths without parameters come first."""
    for template in sorted(document["paths"], key=lambda each: each.count("{")):
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            return dict(document["paths"][template])
    return None


def check(document: dict[str, Any], answer: Answer) -> None:
    """AssertionError for a status, header or body that is not described, and for an Allow that lacks a method."""
    method = answer.method.lower()
    if (described := operations(document, answer.path)) is None:
        return
    if answer.status == 405 or (method == "options" and answer.status == 204):
        allowed = {each.strip().lower() for each in answer.headers["allow"].split(",")}
        assert allowed == set(described), answer
        assert (method in allowed) == (answer.status == 204), answer
    elif method not in described:
        assert answer.status in BEFORE_ROUTES, answer
    else:
        responses = described[method]["responses"]
        assert str(answer.status) in responses, answer
        _check_headers(responses[str(answer.status)].get("headers", {}), answer)
        if answer.method != "HEAD" and answer.body:
            _check_body(responses[str(answer.status)].get("content", {}), answer)


def _check_headers(described: dict[str, Any], answer: Answer) -> None:
    for name, header in described.items():
        value = answer.headers.get(name)
        assert value is not None or not header.get("required"), (name, answer)
        assert value is None or re.search(header["schema"].get("pattern", ""), value), (name, answer)


def _check_body(described: dict[str, Any], answer: Answer) -> None:
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in described, answer
    if kind == "application/json" and answer.status != 206:
        problems = validator(msgspec.json.encode(described[kind]["schema"])).iter_errors(
            msgspec.json.decode(answer.body)
        )
        assert not [problem.message for problem in problems], answer


@cache
def validator(schema: bytes) -> jsonschema_rs.Validator:
    """Of a schema as it stands in the document."""
    return jsonschema_rs.validator_for({**msgspec.json.decode(schema), "components": {"schemas": schemas()}})


async def check_described(document: dict[str, Any], answer: httpx.Response) -> None:
    """The same for a client's."""
    told = "json" in answer.headers.get("content-type", "")
    body = await answer.aread() if told else b""  # a clip may still be growing
    request = answer.request
    check(document, Answer(request.method, request.url.path, answer.status_code, answer.headers, body))


def watching(path: str, serve: Handler, problems: list[str]) -> Handler:
    """What serves a WebSocket; whatever it tells that is not described is kept in `problems`."""
    channel = next(each for each in asyncapi.CHANNELS.values() if each.path == path)

    async def watched(connection: Connection) -> None:
        send = connection.send

        async def checked(message: Any, *how: Any, **more: Any) -> None:
            problems.extend(problems_of(channel.told, message))
            await send(message, *how, **more)

        connection.send = checked  # type: ignore[method-assign]
        await serve(connection)

    return watched


def problems_of(side: asyncapi.Side, message: str | bytes) -> Iterator[str]:
    """Of an event that goes this way."""
    if isinstance(message, bytes):
        return
    told = msgspec.json.decode(message)
    kind = next(each for each in side.events if each.__struct_config__.tag in (None, told["type"]))
    yield from (f"{each.message}: {message}" for each in message_validator(kind).iter_errors(told))
    if msgspec.json.decode(msgspec.json.encode(msgspec.convert(told, kind))) != told:
        yield f"more than {kind.__name__} has: {message}"


@cache
def message_validator(kind: type[msgspec.Struct]) -> jsonschema_rs.Validator:
    """Of the events of this type, by the document."""
    document = asyncapi.document()
    for name, channel in asyncapi.CHANNELS.items():
        if kind in (*channel.asked.events, *channel.told.events):
            schema = {"$ref": f"#/components/schemas/{name}.{kind.__name__}"}
            return jsonschema_rs.validator_for({**schema, "components": document["components"]})
    raise AssertionError(f"no channel has {kind.__name__}")
