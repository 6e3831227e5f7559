"""/v1/examples: what one can begin with on a fresh daemon, with nothing of one's own at hand."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from echod.roles.examples import PORTRAIT, ROLES, SPEECH, example_role
from echod.server.answers import FILE, refusals
from echod.server.downloads import Download, download
from echod.server.services import Addresses, Addressing

router = APIRouter(prefix="/v1/examples", tags=["examples"])
ANSWERS = FILE | refusals("not_found", "range_not_satisfiable")


@router.get("", summary="A portrait, a recording and roles to begin with", responses=refusals())
async def examples(addresses: Addressing) -> dict[str, Any]:
    return {
        "object": "examples",
        "portrait": addresses("/v1/examples/portrait"),
        "speech": addresses("/v1/examples/speech"),
        "roles": [_role_object(name, addresses) for name in ROLES],
    }


@router.get("/portrait", summary="The example portrait", response_class=Response, responses=ANSWERS)
async def portrait() -> Download:
    return _file(PORTRAIT)


@router.get("/speech", summary="The example recording", response_class=Response, responses=ANSWERS)
async def speech() -> Download:
    return _file(SPEECH)


@router.get(
    "/roles/{name}/portrait", summary="The portrait of an example role", response_class=Response, responses=ANSWERS
)
async def role_portrait(name: str) -> Download:
    return _file(example_role(name)[1])


def _role_object(name: str, addresses: Addresses) -> dict[str, Any]:
    file, _ = example_role(name)
    return {
        "name": name,
        "title": file.title,
        "greeting": file.greeting,
        "language": file.language,
        "portrait": addresses(f"/v1/examples/roles/{name}/portrait"),
    }


def _file(path: Path) -> Download:
    return download(path, mimetypes.guess_type(path.name)[0] or "application/octet-stream", path.name, "inline")
