"""Errors on their way to a client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import JSONResponse

from echod.errors import EchodError
from echod.redaction import redact

RETRY_AFTER = 5  # seconds, where nobody knows better


def invalid(message: str, param: str | None = None) -> EchodError:
    return EchodError("invalid_request", message, param=param)


def no_json(what: str, encoded: bytes, error: Exception) -> EchodError:
    """What msgspec could not decode. Half a surrogate pair shortly before the end it takes for an end too early."""
    half = "truncated" in str(error) and re.search(rb"\\u[Dd][89ABab]..(?!\\u)", encoded)
    return invalid(f"the {what} is no JSON object: {'half a surrogate pair is no text' if half else error}")


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Errors that name no field are about this one."""
    try:
        yield
    except EchodError as error:
        error.param = error.param or name
        raise


def error_response(error: EchodError, headers: dict[str, str] | None = None) -> JSONResponse:
    headers = dict(headers or {})
    if error.status in (429, 503):
        headers["Retry-After"] = str(error.retry_after or RETRY_AFTER)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in (409, 507):  # OpenAI's clients would try these again at once
        headers["X-Should-Retry"] = "false"
    return JSONResponse(body(error), error.status, headers)


def body(error: EchodError) -> dict[str, dict[str, str | None]]:
    """The error's body. A token that a client put where it does not belong, such as a URL, is not repeated."""
    told = error.body()["error"]
    return {"error": {name: value and redact(value) for name, value in told.items()}}
