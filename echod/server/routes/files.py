"""/v1/files: uploads in the shape of OpenAI's Files."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from echod.errors import invalid
from echod.inference.framing import Box
from echod.jobs import advice
from echod.server.answers import PORTRAITS, RANGES, RECORDINGS, Answer, Page, answer, file, listing, refusals
from echod.server.caller import Caller
from echod.server.downloads import Download, download
from echod.server.multipart import parts, save
from echod.server.refusals import blaming
from echod.server.schemas import ANCHOR, DEFAULT_PURPOSE, EXPIRY, MAX_EXPIRY, MAX_PURPOSE, UPLOAD_BODY
from echod.server.services import Addresses, Addressing, Calling, Served, Services
from echod.uploads.rows import Record

router = APIRouter(prefix="/v1/files", tags=["files"])

OPAQUE = "application/octet-stream"


class FileExtras(msgspec.Struct, frozen=True, kw_only=True):
    """What inspection found: of a portrait pixels and boxes, of speech seconds. The url is signed, and expires."""

    kind: Literal["portrait", "speech"]
    width: int | None
    height: int | None
    faces: int | None
    box: Box | None
    boxes: tuple[Box, ...] | None
    seconds: float | None
    warnings: list[advice.Advice]
    url: str


class File(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="file"):
    """OpenAI's File object. Times are seconds since the epoch."""

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    echod: FileExtras


class Files(Page, frozen=True, kw_only=True):
    """Uploads, a page of them."""

    data: list[File]


class DeletedFile(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="file"):
    id: str
    deleted: Literal[True] = True


@router.post(
    "",
    summary="Upload a picture or a recording",
    openapi_extra={"requestBody": UPLOAD_BODY},
    responses=answer(File) | refusals(*PORTRAITS, *RECORDINGS),
)
async def create(request: Request, served: Served, caller: Calling, addresses: Addressing) -> Answer:
    with served.accounts.at_work(caller.account):
        record = await _receive(request, served, caller)
    return Answer(file_object(record, addresses))


async def _receive(request: Request, served: Services, caller: Caller) -> Record:
    filename, fields = None, {"purpose": DEFAULT_PURPOSE, f"{EXPIRY}[anchor]": ANCHOR, f"{EXPIRY}[seconds]": ""}
    async with served.files.receive(caller.account) as receiving:
        async for part in parts(request):
            if part.name == "file" and part.filename is not None and filename is None:
                filename = part.filename
                await save(part, receiving)
            elif part.name in fields and part.filename is None:
                fields[part.name] = await part.text()
            else:
                known = f"the form may have one file part `file`, and {', '.join(fields)}"
                raise invalid(f"{known}; not {part.name!r}", part.name)
        if filename is None:
            raise invalid("the form has no file part named `file`", "file")
        if len(purpose := fields["purpose"]) > MAX_PURPOSE:
            raise invalid(f"purpose has {len(purpose)} characters; at most {MAX_PURPOSE} are allowed", "purpose")
        keep = _seconds(fields[f"{EXPIRY}[anchor]"], fields[f"{EXPIRY}[seconds]"])
        with blaming("file"):
            return await receiving.finish(filename, "any", purpose, keep)


def _seconds(anchor: str, seconds: str) -> int | None:
    """How long to keep a file at most, if a client says so."""
    if anchor != ANCHOR:
        raise invalid(f"{EXPIRY}[anchor] = {anchor!r}: it must be {ANCHOR}", f"{EXPIRY}[anchor]")
    if not seconds:
        return None
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 10 and 0 < int(seconds) <= MAX_EXPIRY):
        raise invalid(
            f"{EXPIRY}[seconds] = {seconds!r}: it must be a whole number from 1 to {MAX_EXPIRY}", f"{EXPIRY}[seconds]"
        )
    return int(seconds)


@router.get("", summary="Your uploads, newest first", responses=answer(Files) | refusals("not_found"))
async def list_files(
    served: Served,
    caller: Calling,
    addresses: Addressing,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    order: Literal["asc", "desc"] = "desc",
) -> Answer:
    page, more = await served.files.list(caller.sees, after, limit, order)
    return Answer(listing(Files, [file_object(record, addresses) for record in page], more))


@router.get("/{file_id}", summary="One upload", responses=answer(File) | refusals("not_found"))
async def retrieve(file_id: str, served: Served, caller: Calling, addresses: Addressing) -> Answer:
    return Answer(file_object(await served.files.find(file_id, caller.sees), addresses))


@router.head("/{file_id}/content", include_in_schema=False)
@router.get(
    "/{file_id}/content",
    summary="The bytes as they were uploaded",
    response_class=Response,
    responses=file("The file.", OPAQUE) | refusals("not_found", "range_not_satisfiable"),
    openapi_extra=RANGES,
)
async def content(file_id: str, served: Served, caller: Calling) -> Download:
    record = await served.files.find(file_id, caller.sees)
    # Never a type a browser would render: the bytes are somebody's.
    return download(served.files.original(record), OPAQUE, record.filename)


@router.delete(
    "/{file_id}",
    summary="Remove an upload; jobs made with it keep their copy",
    responses=answer(DeletedFile) | refusals("not_found"),
)
async def delete(file_id: str, served: Served, caller: Calling) -> Answer:
    await served.files.delete(file_id, caller.sees)
    return Answer(DeletedFile(id=file_id))


def file_object(record: Record, addresses: Addresses) -> File:
    portrait, speech = record.portrait, record.speech
    return File(
        id=record.id,
        bytes=record.bytes,
        created_at=int(record.created_at),
        expires_at=None if record.expires_at is None else int(record.expires_at),
        filename=record.filename,
        purpose=record.purpose,
        echod=FileExtras(
            kind=record.kind,
            width=portrait.width if portrait else None,
            height=portrait.height if portrait else None,
            faces=portrait.faces if portrait else None,
            box=portrait.box if portrait else None,
            boxes=portrait.boxes if portrait else None,
            seconds=speech.seconds if speech else None,
            warnings=advice.warnings(portrait),
            url=addresses(f"/v1/files/{record.id}/content"),
        ),
    )
