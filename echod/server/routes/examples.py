"""/v1/examples: what one can begin with on a fresh daemon, with nothing of one's own at hand."""

from __future__ import annotations

from pathlib import Path

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response

from echod.roles.examples import PORTRAIT, ROLES, SPEECH, example_role
from echod.server.answers import RANGES, Answer, answer, file, refusals
from echod.server.downloads import Download, download
from echod.server.services import Addresses, Addressing

router = APIRouter(prefix="/v1/examples", tags=["examples"])
NO_FILE = refusals("not_found", "range_not_satisfiable")
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".wav": "audio/wav"}
PICTURE = file("The portrait.", TYPES[".png"], TYPES[".jpg"]) | NO_FILE
RECORDING = file("The recording.", TYPES[".wav"]) | NO_FILE


class ExampleRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role to make with POST /v1/roles, whose `example` is its name. The portrait's url is signed, and expires."""

    name: str
    title: str
    greeting: str
    language: str | None
    portrait: str


class Examples(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="examples"):
    """Signed urls, which expire."""

    portrait: str
    speech: str
    roles: list[ExampleRole]


@router.get("", summary="A portrait, a recording and roles to begin with", responses=answer(Examples) | refusals())
async def examples(addresses: Addressing) -> Answer:
    told = Examples(
        portrait=addresses("/v1/examples/portrait"),
        speech=addresses("/v1/examples/speech"),
        roles=[_role_object(name, addresses) for name in ROLES],
    )
    return Answer(told)


@router.get(
    "/portrait", summary="The example portrait", response_class=Response, responses=PICTURE, openapi_extra=RANGES
)
async def portrait() -> Download:
    return _file(PORTRAIT)


@router.get(
    "/speech", summary="The example recording", response_class=Response, responses=RECORDING, openapi_extra=RANGES
)
async def speech() -> Download:
    return _file(SPEECH)


@router.get(
    "/roles/{name}/portrait",
    summary="The portrait of an example role",
    response_class=Response,
    responses=PICTURE,
    openapi_extra=RANGES,
)
async def role_portrait(name: str) -> Download:
    return _file(example_role(name)[1])


def _role_object(name: str, addresses: Addresses) -> ExampleRole:
    file, _ = example_role(name)
    return ExampleRole(
        name=name,
        title=file.title,
        greeting=file.greeting,
        language=file.language,
        portrait=addresses(f"/v1/examples/roles/{name}/portrait"),
    )


def _file(path: Path) -> Download:
    return download(path, TYPES[path.suffix], path.name, "inline")
