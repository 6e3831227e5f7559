"""Request bodies for /openapi.json: the routes read them themselves, so the framework cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from echod.errors import TABLE
from echod.options import MAX_SEED, MAX_SIDE, MIN_SIDE, SIDE_STEP, SIZE
from echod.rolefile import MODES, NAME
from echod.rolefile import OPTIONS as ROLE_OPTIONS

REFERENCE = {
    "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False,
    "properties": {
        "file_id": {"type": "string", "description": "A file that was sent to POST /v1/files."},
        "video_id": {"type": "string", "description": "A job: what that one is made of."},
    },
}  # fmt: skip
BINARY = {"type": "string", "format": "binary"}

OPTIONS: dict[str, Any] = {
    "prompt": {
        "type": "string",
        "description": "The words to speak if there is no recording, else a label; omitted: the recording's name.",
    },
    "voice": {"type": "string", "description": "A voice of GET /v1/voices, to speak the prompt with."},
    "model": {"type": "string", "description": "An engine or role of GET /v1/models; omitted: the main engine."},
    "size": {
        "type": "string", "default": SIZE,
        "description": f"WIDTHxHEIGHT, each {MIN_SIDE} to {MAX_SIDE} in steps of {SIDE_STEP}.",
    },
    "seed": {"type": "integer", "minimum": 0, "maximum": MAX_SEED, "default": 420},
    "fps": {"type": "integer", "minimum": 1, "maximum": 60, "default": 24},
    "steps": {
        "type": "integer", "minimum": 1, "maximum": 100, "description": "Denoising steps; omitted: the engine decides.",
    },
    "guidance": {"type": "number", "minimum": 0, "maximum": 20, "description": "Omitted: the engine's."},
    "lossless": {"type": "boolean", "default": False, "description": "Encode without loss (libx264rgb, qp 0)."},
    "seconds": {"description": "Ignored: a clip is as long as its speech."},
    "metadata": {
        "type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 16,
        "description": "`title` is what the clip is called; anything else is kept as it is.",
    },
}  # fmt: skip


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required, "additionalProperties": False}}


def _references(portrait: str, speech: str, kind: dict[str, Any]) -> dict[str, Any]:
    return {"input_reference": kind | {"description": portrait}, "audio_reference": kind | {"description": speech}}


SUBMISSION_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": _form(
            _references(
                "The portrait as a file part; or send input_reference[file_id].",
                "The speech as a file part; or send audio_reference[file_id].",
                BINARY,
            )
            | OPTIONS,
            [],
        ),
        "application/json": _form(_references("The portrait.", "The speech.", REFERENCE) | OPTIONS, []),
    },
}

UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": _form(
            {
                "file": BINARY | {"description": "A picture of a face, or a recording of speech."},
                "purpose": {"type": "string", "default": "user_data"},
            },
            ["file"],
        )
    },
}

ROLE: dict[str, Any] = {
    "title": {"type": "string", "description": "What people see; omitted: the name."},
    "personality": {"type": "string", "description": "How the role thinks and talks. Admins see it, nobody else."},
    "language": {"type": "string", "description": "A language tag such as en or zh-CN."},
    "greeting": {"type": "string", "description": "Its first words."},
    "portrait": BINARY | {"description": "A picture of a face."},
    "voice": {"type": "string"},
    "engine": {"type": "string", "description": "An engine of GET /v1/models; omitted or auto: the main one."},
    "mode": {"type": "string", "enum": list(MODES), "default": "video"},
    "options": {
        "type": "object", "properties": {name: OPTIONS[name] for name in ROLE_OPTIONS}, "additionalProperties": False,
        "description": "Defaults for the role's clips; in a form as options[size] and so on.",
    },
}  # fmt: skip

NAME_OF_ROLE = {"type": "string", "pattern": f"^{NAME.pattern}$"}


def _role_body(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"required": True, "content": {"multipart/form-data": _form(properties, required)}}


EXAMPLE = {"type": "string", "description": "An example of GET /v1/examples: what is omitted is as it has it."}
NEW_ROLE_BODY = _role_body({"name": NAME_OF_ROLE, "example": EXAMPLE} | ROLE, [])
ROLE_BODY = _role_body(ROLE, [])  # a role that exists keeps its portrait if there is none


def json_body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A request body that is decoded into a struct."""
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def json_answer(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """An answer that is encoded from a struct, its parts written out where they stand."""
    (schema,), parts = msgspec.json.schema_components([kind])
    return {"content": {"application/json": {"schema": _written_out(schema, parts)}}}


def _written_out(schema: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_written_out(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _written_out(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {name: _written_out(value, parts) for name, value in schema.items()}


# Codes of answers.
EVERYWHERE = (
    "invalid_request", "payload_too_large", "rate_limited", "internal", "draining", "disk_full", "disk_failed",
)  # fmt: skip
CREDENTIALS = ("unauthorized", "forbidden")
PORTRAITS = ("portrait_unreadable", "no_face_detected", "unsupported_media", "quota_exceeded")
RECORDINGS = ("speech_unreadable", "speech_silent", "speech_too_short", "speech_too_long")
OPTIONAL = ("unsupported_size", "model_not_loaded")

Responses = dict[int | str, dict[str, Any]]  # by status

# What a file is answered with, beside 200.
FILE: Responses = {
    206: {"description": "The part that Range asked for."},
    304: {"description": "What If-None-Match names is still the same."},
}


def refusals(*codes: str, open_to_all: bool = False) -> Responses:
    """The answers of a route that may refuse with these codes, and as every route does, by status."""
    credentials = () if open_to_all else CREDENTIALS
    by_status: dict[int | str, list[str]] = {}
    for code in sorted({*EVERYWHERE, *credentials, *codes}):
        by_status.setdefault(TABLE[code].status, []).append(code)
    return {status: _refusal(told) for status, told in sorted(by_status.items(), key=lambda each: str(each[0]))}


def _refusal(codes: list[str]) -> dict[str, Any]:
    text = {"type": "string"}
    error = {
        "message": text, "type": text, "param": {"type": ["string", "null"]}, "code": {"type": "string", "enum": codes},
    }  # fmt: skip
    return {
        "description": f"Refused: {', '.join(codes)}.",
        "content": {"application/json": {"schema": _whole({"error": _whole(error)})}},
    }


def _whole(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip
