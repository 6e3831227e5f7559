"""Answers for /openapi.json, by status."""

from __future__ import annotations

from typing import Any

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
