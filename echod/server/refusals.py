"""Errors on their way to a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import JSONResponse

from echod.errors import EchodError

RETRY_AFTER = "5"  # seconds


def invalid(message: str, param: str | None = None) -> EchodError:
    return EchodError("invalid_request", message, param=param)


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
        headers["Retry-After"] = RETRY_AFTER
    if error.status in (409, 507):  # OpenAI's clients would try these again at once
        headers["X-Should-Retry"] = "false"
    return JSONResponse(error.body(), error.status, headers)
