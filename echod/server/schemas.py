"""Request bodies for /openapi.json: the routes read them themselves, so the framework cannot know."""

from __future__ import annotations

from typing import Any

from echod.errors import TABLE
from echod.server.submission import MAX_SEED, MAX_SIDE, MIN_SIDE, SIDE_STEP

FILE_ID = {
    "type": "object", "required": ["file_id"], "properties": {"file_id": {"type": "string"}},
    "additionalProperties": False,
}  # fmt: skip
BINARY = {"type": "string", "format": "binary"}

OPTIONS: dict[str, Any] = {
    "prompt": {"type": "string", "description": "A label for the job."},
    "model": {"type": "string", "description": "An engine of GET /v1/models; omitted or auto: the main one."},
    "size": {
        "type": "string", "default": "512x512",
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
    "metadata": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 16},
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
        "application/json": _form(
            _references("The portrait.", "The speech.", FILE_ID) | OPTIONS, ["input_reference", "audio_reference"]
        ),
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

ERROR_ANSWER: dict[str, Any] = {
    "description": "Refused; `code` says why.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "error": {
                        "type": "object",
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": "string", "enum": sorted(code for code in TABLE if TABLE[code].status)},
                        },
                    }
                },
            }
        }
    },
}
