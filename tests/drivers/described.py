"""Whether answers are as /openapi.json has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
import msgspec

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
    """AssertionError for a status or a code that is not described, and for an Allow that does not name all methods."""
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
        _check_code(described[method]["responses"], answer)


def _check_code(responses: dict[str, Any], answer: Answer) -> None:
    assert str(answer.status) in responses, answer
    if answer.status >= 400 and answer.method != "HEAD" and answer.headers["content-type"] == "application/json":
        told = msgspec.json.decode(answer.body)
        if "error" in told:
            schema = responses[str(answer.status)]["content"]["application/json"]["schema"]
            assert told["error"]["code"] in schema["properties"]["error"]["properties"]["code"]["enum"], answer


async def check_described(document: dict[str, Any], answer: httpx.Response) -> None:
    """The same for a client's."""
    body = await answer.aread() if answer.status_code >= 400 else b""
    request = answer.request
    check(document, Answer(request.method, request.url.path, answer.status_code, answer.headers, body))
