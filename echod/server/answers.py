"""Answers: how they are encoded, and as /openapi.json has them, by status.

What is answered is a msgspec struct; /openapi.json refers to it by name, and `openapi.py` adds the schemas.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from echod.errors import TABLE

# Codes
EVERYWHERE = (
    "invalid_request", "payload_too_large", "rate_limited", "internal", "draining", "disk_full", "disk_failed",
)  # fmt: skip
CREDENTIALS = ("unauthorized", "forbidden")
PORTRAITS = ("portrait_unreadable", "no_face_detected", "unsupported_media", "quota_exceeded")
RECORDINGS = ("speech_unreadable", "speech_silent", "speech_too_short", "speech_too_long")
OPTIONAL = ("unsupported_size", "model_not_loaded")

Responses = dict[int | str, dict[str, Any]]  # by status

SCHEMA = "#/components/schemas/{name}"
BINARY = {"type": "string", "format": "binary"}


class Answer(Response):
    """A struct as JSON."""

    media_type = "application/json"

    def render(self, content: msgspec.Struct) -> bytes:
        return msgspec.json.encode(content)


class Page(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="list"):
    """A page of a list in OpenAI's shape; `after` with its `last_id` asks for the next."""

    data: list[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool


P = TypeVar("P", bound=Page)


def listing(kind: type[P], rows: list[Any], more: bool = False) -> P:
    """`rows` have ids."""
    first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
    return kind(data=rows, first_id=first, last_id=last, has_more=more)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What was wrong, the value, the limit, and the setting that changes it, in words; `param` is the field at fault.

    `code` is one of the table of errors.
    """

    message: str
    type: str
    param: str | None
    code: str


class Refusal(msgspec.Struct, frozen=True):
    """Every error, in the shape that OpenAI's clients read."""

    error: Fault


def ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": SCHEMA.format(name=kind.__name__)}


def json_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def answer(kind: type[msgspec.Struct], description: str = "", **headers: Any) -> Responses:
    """What a route answers with when all is well."""
    told: dict[str, Any] = {"description": description or "Done.", **json_of(ref(kind))}
    return {200: told | ({"headers": headers} if headers else {})}


def header(description: str, required: bool = False, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string", **schema}}


# What a file is answered with, or a part of one.
ETAG = {"ETag": header("Of what was sent, for If-None-Match.", required=True)}
OF_FILES = ETAG | {
    "Accept-Ranges": header("bytes", required=True),
    "Content-Disposition": header("What to call the file.", required=True),
    "Last-Modified": header("When it was made.", required=True),
}
CONTENT_RANGE = {"Content-Range": header("Which part, of how much.", pattern="^bytes [*0-9]")}
RANGES = {
    "parameters": [
        {
            "name": "Range", "in": "header", "description": "Which parts of it, such as bytes=0-1023.",
            "schema": {"type": "string", "pattern": "^bytes=[0-9]{1,9}-$"},
        },
        {
            "name": "If-None-Match", "in": "header", "description": "An ETag: nothing is sent if it is still that.",
            "schema": {"type": "string", "pattern": '^(W/)?"[0-9a-f]{1,64}"$'},
        },
    ],
}  # fmt: skip


def file(description: str, *media_types: str) -> Responses:
    """A file, a part of one, or that it is still the same."""
    whole = {each: {"schema": BINARY} for each in media_types}
    return {
        200: {"description": description, "headers": OF_FILES, "content": whole},
        206: {
            "description": "The part that Range asked for, or the parts.",
            "headers": OF_FILES | CONTENT_RANGE,
            "content": whole | {"multipart/byteranges": {"schema": BINARY}},
        },
        304: {"description": "What If-None-Match names is still the same.", "headers": ETAG},
    }


OF_REFUSALS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": header("Bearer", required=True)},
    409: {"X-Should-Retry": header("false: trying again at once is of no use", required=True)},
    416: CONTENT_RANGE,
    429: {"Retry-After": header("Seconds.", required=True, pattern="^[0-9]+$")},
    503: {"Retry-After": header("Seconds.", required=True, pattern="^[0-9]+$")},
    507: {"X-Should-Retry": header("false: trying again at once is of no use", required=True)},
}


def refusals(*codes: str, open_to_all: bool = False) -> Responses:
    """The answers of a route that may refuse with these codes, and as every route does, by status."""
    credentials = () if open_to_all else CREDENTIALS
    by_status: dict[int, list[str]] = {}
    for code in sorted({*EVERYWHERE, *credentials, *codes}):
        by_status.setdefault(TABLE[code].status, []).append(code)
    return {status: _refusal(status, told) for status, told in sorted(by_status.items())}


def _refusal(status: int, codes: list[str]) -> dict[str, Any]:
    """Whoever makes a client of this sees one type; the codes stand beside the reference to it."""
    only = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    headers = {"headers": OF_REFUSALS[status]} if status in OF_REFUSALS else {}
    return {"description": f"Refused: {', '.join(codes)}.", **headers, **json_of(ref(Refusal) | only)}
