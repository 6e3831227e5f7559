"""Request bodies for /openapi.json: the routes read them themselves, so the framework cannot know."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import msgspec

from echod.inference import registry
from echod.inference.framing import DILATION
from echod.inference.limits import (
    DEFAULT_SEED,
    LABEL_LANGUAGES,
    LABELS,
    MAX_FPS,
    MAX_SIDE,
    MIN_FPS,
    MIN_SIDE,
    SIDE_STEP,
)
from echod.jobs.options import MAX_DILATION, MAX_FACE, MAX_SEED, SIZE, VIEWS
from echod.roles import file as rolefile
from echod.server.answers import BINARY, json_of, ref
from echod.server.routes import submission

REFERENCE: dict[str, Any] = {
    "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False,
    "properties": {
        "file_id": {"type": "string", "description": "A file that was sent to POST /v1/files."},
        "video_id": {"type": "string", "description": "A job: what that one is made of."},
    },
}  # fmt: skip
MAX_PURPOSE, DEFAULT_PURPOSE = 64, "user_data"
EXPIRY, ANCHOR, MAX_EXPIRY = "expires_after", "created_at", 30 * 24 * 3600  # seconds
MAX_KEY = 255  # characters of an Idempotency-Key


def text(most: int, description: str = "", **more: Any) -> dict[str, Any]:
    """Of at most so many characters."""
    return {"type": "string", "maxLength": most, **({"description": description} if description else {}), **more}


def words(most: int, description: str = "") -> dict[str, Any]:
    """Without control characters but those between lines."""
    return text(most, description, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")


def line(most: int, description: str = "") -> dict[str, Any]:
    """Without control characters."""
    return text(most, description, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")


CROP = {"type": "string", "pattern": "^[0-9]{1,6}(,[0-9]{1,6}){3}$"}


def of_a_role(usual: object) -> str:
    """No `default`: clients that are generated send those, and the role's own would not count."""
    return f"Omitted: {usual}, or as the role has it."


OPTIONS: dict[str, Any] = {
    "prompt": text(
        submission.MAX_PROMPT,
        "The words to speak if there is no recording, else a label; omitted: the recording's name.",
    ),
    "voice": text(submission.MAX_VOICE, "A voice of GET /v1/voices, to speak the prompt with."),
    "model": text(128, "An engine or role of GET /v1/models; omitted: the main engine."),
    "size": {
        "type": "string", "pattern": "^[0-9]{3,4}x[0-9]{3,4}$",
        "description": f"WIDTHxHEIGHT, each {MIN_SIDE} to {MAX_SIDE} in steps of {SIDE_STEP}. {of_a_role(SIZE)}",
    },
    "view": {
        "type": "string", "enum": list(VIEWS),
        "description": "What the clip shows: the face, or the whole picture with the head moving in it, at its own "
        "size. Omitted: the face, or as the role has it.",
    },
    "crop": {
        "anyOf": [
            {
                "type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 999_999},
                "minItems": 4, "maxItems": 4,
            },
            CROP,
        ],
        "description": "x0,y0,x1,y1: the part of the portrait that the engine makes frames of, its middle cut to the "
        "shape of `size`; it must hold all of the face. Omitted: around the face.",
    },
    "dilation": {
        "type": "number", "minimum": 0, "maximum": MAX_DILATION,
        "description": "In place of a crop: how much more than the face there is, as a share of it, on each side. "
        f"Omitted: {DILATION}.",
    },
    "face": {
        "type": "integer", "minimum": 0, "maximum": MAX_FACE,
        "description": "Which face speaks, from left to right, from 0 on; omitted: the largest.",
    },
    "seed": {"type": "integer", "minimum": 0, "maximum": MAX_SEED, "description": of_a_role(DEFAULT_SEED)},
    "fps": {"type": "integer", "minimum": MIN_FPS, "maximum": MAX_FPS, "description": of_a_role(24)},
    "steps": {
        "type": "integer", "minimum": 1, "maximum": 100, "description": "Denoising steps; omitted: the engine decides.",
    },
    "guidance": {"type": "number", "minimum": 0, "maximum": 20, "description": "Omitted: the engine's."},
    "lossless": {"type": "boolean", "default": False, "description": "Encode without loss (libx264rgb, qp 0)."},
    "live": {
        "type": "boolean", "default": False,
        "description": "For whoever watches `stream`: its first frame comes sooner, and the file is larger.",
    },
    "label": {
        "type": "string", "enum": list(LABELS),
        "description": "AI-generated, or AI生成, in a corner of every frame. Omitted: as the daemon has it.",
    },
    "label_language": {
        "type": "string", "enum": list(LABEL_LANGUAGES), "description": "Omitted: as the daemon has it.",
    },
    "seconds": {"type": ["number", "string"], "description": "Ignored: a clip is as long as its speech."},
    "metadata": {
        "type": "object", "maxProperties": submission.MAX_METADATA,
        "propertyNames": {"maxLength": submission.MAX_METADATA_KEY},
        "additionalProperties": text(submission.MAX_METADATA_VALUE),
        "description": "`title` is what the clip is called; anything else is kept as it is.",
    },
}  # fmt: skip


def _object(properties: dict[str, Any], required: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False, **more,
    }  # fmt: skip


def _form(schema: dict[str, Any], **example: Any) -> dict[str, Any]:
    return {"required": True, "content": {"multipart/form-data": {"schema": schema, "example": example}}}


def _any(*names: str) -> dict[str, Any]:
    return {"anyOf": [{"required": [name]} for name in names]}


def _inputs(*ways: str) -> list[dict[str, Any]]:
    """What must be there of a submission, and what cannot be said together; `ways` end the names of references."""
    portraits, recordings = ([f"{name}{way}" for way in ways] for name in REFERENCES)
    of_a_role = {"required": ["model"], "properties": {"model": {"pattern": "^role:."}}}
    spoken = {"required": ["prompt"], "properties": {"prompt": {"pattern": r"\S"}}, "not": _any(*recordings)}
    recorded = {**_any(*recordings), "not": {"required": ["voice"]}}
    twice = [{"not": {"required": list(pair)}} for names in (portraits, recordings) for pair in combinations(names, 2)]
    framed_twice = {"not": {"required": ["crop", "dilation"]}}
    return [{"anyOf": [_any(*portraits), of_a_role]}, {"anyOf": [recorded, spoken]}, *twice, framed_twice]


REFERENCES = {"input_reference": "The portrait", "audio_reference": "The speech"}
IDS = {f"{name}[{id}]": each for name in REFERENCES for id, each in REFERENCE["properties"].items()}
IN_FORMS = {name: each for name, each in OPTIONS.items() if name != "metadata"}
IN_FORMS["crop"] = {**CROP, "description": OPTIONS["crop"]["description"]}
METADATA = {
    rf"^metadata\[[^\[\]]{{1,{submission.MAX_METADATA_KEY}}}\]$": text(submission.MAX_METADATA_VALUE),
}  # fmt: skip

SUBMISSION = _object(
    {name: REFERENCE | {"description": f"{what}."} for name, what in REFERENCES.items()} | OPTIONS, allOf=_inputs("")
)
SUBMISSION_FORM = _object(
    {name: BINARY | {"description": f"{what}, as a file part."} for name, what in REFERENCES.items()} | IDS | IN_FORMS,
    patternProperties=METADATA,
    allOf=_inputs("", "[file_id]", "[video_id]"),
)
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key", "in": "header", "schema": text(MAX_KEY, minLength=1),
    "description": "The same request under the same key within 24 hours makes no second job.",
}  # fmt: skip
SAID = {"prompt": "Good evening.", "voice": "en-us", "seed": DEFAULT_SEED}
SUBMISSION_BODY: dict[str, Any] = _form(SUBMISSION_FORM, input_reference="@portrait.png", **SAID)
SUBMISSION_BODY["content"]["application/json"] = {
    "schema": SUBMISSION, "example": {"input_reference": {"file_id": "file-5c1d2e3f4a5b6c7d"}, **SAID},
}  # fmt: skip

UPLOAD_BODY = _form(
    _object(
        {
            "file": BINARY | {"description": "A picture of a face, or a recording of speech."},
            "purpose": text(MAX_PURPOSE, default=DEFAULT_PURPOSE),
            f"{EXPIRY}[anchor]": {"type": "string", "enum": [ANCHOR]},
            f"{EXPIRY}[seconds]": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_EXPIRY,
                "description": "Kept for so long, and at most for as long as every upload (setting keep_uploads).",
            },
        },
        ["file"],
    ),
    file="@portrait.png",
)

ROLE: dict[str, Any] = {
    "title": line(rolefile.MAX_TITLE, "What people see; omitted: the name."),
    "personality": words(rolefile.MAX_PERSONALITY, "How the role thinks and talks. Admins see it, nobody else."),
    "language": text(35, "A language tag such as en or zh-CN.", pattern=f"^({rolefile.LANGUAGE.pattern})?$"),
    "greeting": words(rolefile.MAX_GREETING, "Its first words."),
    "portrait": BINARY | {"description": "A picture of a face."},
    "voice": line(rolefile.MAX_VOICE),
    "engine": {
        "type": "string", "enum": ["auto", *registry.installed()],
        "description": "Omitted or auto: the main engine of GET /v1/models.",
    },
    "mode": {"type": "string", "enum": list(rolefile.MODES), "default": "video"},
} | {f"options[{name}]": OPTIONS[name] for name in rolefile.OPTIONS}  # fmt: skip

NAME_OF_ROLE = {"type": "string", "pattern": f"^{rolefile.NAME.pattern}$"}
EXAMPLE = {"type": "string", "description": "An example of GET /v1/examples: what is omitted is as it has it."}
BY_ITSELF = {"required": ["name", "portrait"]}
NEW_ROLE_BODY = _form(
    _object(
        {"name": NAME_OF_ROLE, "example": EXAMPLE} | ROLE, allOf=[{"anyOf": [BY_ITSELF, {"required": ["example"]}]}]
    ),
    name="ada",
    example="ada",
)
# A role that exists keeps its portrait if there is none.
ROLE_BODY = _form(_object(ROLE), title="Ada, flight instructor")


def json_body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A request body that is decoded into a struct."""
    return {"requestBody": {"required": True, **json_of(ref(kind))}}
