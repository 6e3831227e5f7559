"""Errors on their way to a client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from echod.errors import TABLE, EchodError, invalid
from echod.host.redaction import redact
from echod.server.answers import Answer, Fault, Refusal

RETRY_AFTER = 5  # seconds, where nobody knows better
LINGER = 5.0  # seconds, and
DISCARD = 64 << 20  # bytes, that are read on after a refusal, so that the client sees the answer and not a reset


# msgspec's own reading of numbers takes 11 us for 1e308; Python's takes 0.1.
_objects = msgspec.json.Decoder(dict[str, Any], float_hook=float)


def json_object(what: str, encoded: bytes | str) -> dict[str, Any]:
    """The object that a client sent. The loop stands meanwhile, up to 0.2 s a MiB: whoever calls has set a limit."""
    try:
        return _objects.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Half a surrogate pair shortly before the end msgspec takes for an end too early.
        text = encoded.encode(errors="surrogatepass") if isinstance(encoded, str) else encoded
        half = "truncated" in str(error) and re.search(rb"\\u[Dd][89ABab]..(?!\\u)", text)
        why = "half a surrogate pair is no text" if half else error
        raise invalid(f"the {what} is no JSON object: {why}") from None


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Errors that name no field are about this one."""
    try:
        yield
    except EchodError as error:
        error.param = error.param or name
        raise


def error_response(error: EchodError, headers: dict[str, str] | None = None) -> Answer:
    headers = dict(headers or {})
    if error.status in (429, 503):
        headers["Retry-After"] = str(error.retry_after or RETRY_AFTER)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in (409, 507):  # OpenAI's clients would try these again at once
        headers["X-Should-Retry"] = "false"
    return Answer(Refusal(fault(error)), error.status, headers)


def fault(error: EchodError) -> Fault:
    """The error as clients see it. A token that one put where it does not belong, such as a URL, is not repeated."""
    param = error.param and redact(error.param)
    return Fault(message=redact(error.message), type=TABLE[error.code].type, param=param, code=error.code)
