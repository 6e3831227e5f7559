"""Whether answers are as /openapi.json has it."""

from __future__ import annotations

import re
from typing import Any

import httpx

BEFORE_ROUTES = (400, 401, 403, 413, 429, 503)  # what may be answered before anybody looks for a route


def operations(document: dict[str, Any], path: str) -> dict[str, Any] | None:
    """What is described of a path, by method; the paths without parameters come first."""
    for template in sorted(document["paths"], key=lambda each: each.count("{")):
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            return dict(document["paths"][template])
    return None


async def check_described(document: dict[str, Any], answer: httpx.Response) -> None:
    """AssertionError for a status or a code that is not described, and for an Allow that does not name all methods."""
    method, path = answer.request.method.lower(), answer.request.url.path
    if (described := operations(document, path)) is None:
        return
    if answer.status_code == 405:
        allowed = {each.strip().lower() for each in answer.headers["allow"].split(",")}
        assert (allowed, method in allowed) == (set(described), False), (method, path)
    elif method not in described:
        assert answer.status_code in BEFORE_ROUTES, (method, path, answer)
    else:
        await _check_answer(described[method], answer)


async def _check_answer(operation: dict[str, Any], answer: httpx.Response) -> None:
    responses = operation["responses"]
    assert str(answer.status_code) in responses, (operation["summary"], answer)
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        await answer.aread()
        if answer.headers["content-type"] == "application/json" and "error" in (told := answer.json()):
            schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
            codes = schema["properties"]["error"]["properties"]["code"]["enum"]
            assert told["error"]["code"] in codes, (operation["summary"], told)
