"""/v1/roles: whom one may talk to. Every account may know a role; what makes it one is for admins."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from fastapi.responses import Response
from msgspec import UNSET, UnsetType

from echod.errors import EchodError, invalid
from echod.inference.framing import Box
from echod.jobs.job import View
from echod.roles import role as known
from echod.roles.examples import example_role
from echod.roles.file import Mode
from echod.server.answers import OPTIONAL, PORTRAITS, RANGES, Answer, Page, answer, file, listing, refusals
from echod.server.caller import Caller
from echod.server.downloads import Download, download
from echod.server.multipart import Part, read_form
from echod.server.refusals import blaming
from echod.server.schemas import NAME_OF_ROLE, NEW_ROLE_BODY, ROLE_BODY
from echod.server.services import Addresses, Addressing, Calling, Served, Services

Picture: TypeAlias = tuple[str, Path]  # what it is called, and where it lies

router = APIRouter(prefix="/v1/roles", tags=["roles"])


class Role(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="role"):
    """A role as its reader may know it: what makes it one is for admins.

    Of a folder that is no role only `id`, `name` and `error` are there, which says why.
    """

    id: str
    name: str
    title: str | UnsetType = UNSET
    greeting: str | UnsetType = UNSET
    language: str | UnsetType | None = UNSET
    mode: Mode | UnsetType = UNSET
    portrait: str | UnsetType = UNSET
    box: Box | UnsetType | None = UNSET
    view: View | UnsetType = UNSET
    size: str | UnsetType = UNSET
    personality: str | UnsetType = UNSET
    voice: str | UnsetType | None = UNSET
    engine: str | UnsetType | None = UNSET
    options: dict[str, Any] | UnsetType = UNSET
    faces: int | UnsetType = UNSET
    error: str | UnsetType | None = UNSET


class Roles(Page, frozen=True, kw_only=True):
    """All roles."""

    data: list[Role]


class DeletedRole(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="role"):
    id: str
    deleted: Literal[True] = True


NewName = Annotated[str, InPath(json_schema_extra=NAME_OF_ROLE)]  # told here, and checked elsewhere


@router.get(
    "", summary="All roles; for admins also folders that are none, and why", responses=answer(Roles) | refusals()
)
async def list_roles(served: Served, caller: Calling, addresses: Addressing) -> Answer:
    await served.roles.look()
    rows = [role_object(role, addresses, caller) for role in served.roles.loaded]
    broken = served.roles.broken if caller.admin else {}
    return Answer(listing(Roles, rows + [broken_object(name, problem) for name, problem in broken.items()]))


@router.post(
    "",
    summary="Make a role",
    openapi_extra={"requestBody": NEW_ROLE_BODY},
    responses=answer(Role) | refusals("not_found", *PORTRAITS, *OPTIONAL),
)
async def create(request: Request, served: Served, caller: Calling, addresses: Addressing) -> Answer:
    caller.must_be_admin()
    async with AsyncExitStack() as stack:
        fields, portrait = await _read(request, served, caller, stack)
        fields, portrait = _with_example(fields, portrait)
        name = fields.pop("name", "")
        if not isinstance(name, str):
            raise invalid("name must be text", "name")
        return Answer(role_object(await _write(served, name, fields, portrait, replace=False), addresses, caller))


@router.get("/{name}", summary="One role", responses=answer(Role) | refusals("not_found"))
async def retrieve(name: str, served: Served, caller: Calling, addresses: Addressing) -> Answer:
    await served.roles.look()
    if caller.admin and (problem := served.roles.broken.get(name)):
        return Answer(broken_object(name, problem))
    return Answer(role_object(await served.roles.find(name), addresses, caller))


@router.put(
    "/{name}",
    summary="Make a role or replace it",
    openapi_extra={"requestBody": ROLE_BODY},
    responses=answer(Role) | refusals("not_found", *PORTRAITS, *OPTIONAL),
)
async def replace(
    name: NewName,
    request: Request,
    served: Served,
    caller: Calling,
    addresses: Addressing,
) -> Answer:
    caller.must_be_admin()
    async with AsyncExitStack() as stack:
        fields, portrait = await _read(request, served, caller, stack)
        return Answer(role_object(await _write(served, name, fields, portrait, replace=True), addresses, caller))


@router.delete(
    "/{name}",
    summary="Remove a role; jobs made with it go on",
    responses=answer(DeletedRole) | refusals("not_found"),
)
async def delete(name: str, served: Served, caller: Calling) -> Answer:
    caller.must_be_admin()
    await served.roles.remove(name)
    return Answer(DeletedRole(id=f"role:{name}"))


@router.head("/{name}/portrait", include_in_schema=False)
@router.get(
    "/{name}/portrait",
    summary="A role's portrait",
    response_class=Response,
    responses=file("The portrait.", "image/png") | refusals("not_found", "range_not_satisfiable"),
    openapi_extra=RANGES,
)
async def portrait(name: str, served: Served, caller: Calling) -> Download:
    role = await served.roles.find(name)
    return download(role.picture, "image/png", f"{role.name}.png", "inline")


def role_object(role: known.Role, addresses: Addresses, caller: Caller) -> Role:
    """A role as `caller` may know it."""
    options = role.clip_options
    shown = Role(
        id=f"role:{role.name}",
        name=role.name,
        title=role.title,
        greeting=role.file.greeting,
        language=role.file.language,
        mode=role.file.mode,
        portrait=addresses(f"/v1/roles/{role.name}/portrait"),
        box=role.portrait.box,
        view=options.view,
        size=f"{options.width}x{options.height}",
    )
    if not caller.admin:
        return shown
    file = msgspec.to_builtins(role.file)
    told = {name: file[name] for name in ("personality", "voice", "engine", "options")}
    return msgspec.structs.replace(shown, **told, faces=role.portrait.faces, error=None)


def broken_object(name: str, problem: str) -> Role:
    return Role(id=f"role:{name}", name=name, error=problem)


async def _read(
    request: Request, served: Services, caller: Caller, stack: AsyncExitStack
) -> tuple[dict[str, Any], Picture | None]:
    """The fields of the form, and the portrait in it."""
    fields, uploads = await read_form(request, served.files, caller.account, stack, ("portrait",), _misplaced)
    portrait = uploads.get("portrait")
    return fields, (portrait.filename, await portrait.receiving.written()) if portrait else None


def _misplaced(part: Part) -> EchodError:
    if part.filename is None:
        return invalid("the portrait must be a file part", "portrait")
    return invalid(f"the form may have one file part, `portrait`; not {part.name!r}", part.name)


def _with_example(fields: Mapping[str, Any], portrait: Picture | None) -> tuple[dict[str, Any], Picture | None]:
    """The same; what is not given is as the example has it that the field `example` names."""
    given = dict(fields)
    example = given.pop("example", None)
    if example is None:
        return given, portrait
    with blaming("example"):
        file, picture = example_role(str(example))
    own = {key: value for key, value in msgspec.structs.asdict(file).items() if value and key != "portrait"}
    return {"name": example, **own, **given}, portrait or (file.portrait, picture)


async def _write(
    served: Services, name: str, fields: Mapping[str, Any], portrait: Picture | None, *, replace: bool
) -> known.Role:
    filename, picture = portrait or ("", None)
    with blaming("portrait"):
        return await served.roles.write(name, fields, picture, filename, replace=replace)
