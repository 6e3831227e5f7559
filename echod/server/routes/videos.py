"""/v1/videos: jobs in the shape of OpenAI's Videos."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from echod.errors import EchodError, invalid
from echod.jobs import pins
from echod.jobs.folder import MANIFEST, PORTRAIT
from echod.jobs.job import Job
from echod.server.answers import (
    OF_FILES,
    OPTIONAL,
    PORTRAITS,
    RANGES,
    RECORDINGS,
    Answer,
    Page,
    answer,
    file,
    header,
    json_of,
    listing,
    refusals,
)
from echod.server.downloads import Download, download
from echod.server.objects import Video, video_object
from echod.server.routes.stream import Stream, clip, stream_head, why_none
from echod.server.routes.submission import speech_of, submit
from echod.server.schemas import IDEMPOTENCY_KEY, MAX_KEY, SUBMISSION_BODY
from echod.server.services import Addresses, Addressing, Calling, Served, Services

POLL_AFTER_MS = "500"  # what OpenAI's clients wait between two looks at a job

router = APIRouter(prefix="/v1/videos", tags=["videos"])
JOB = answer(
    Video, "The job.", **{"openai-poll-after-ms": header("When to ask again, until it has ended.", pattern="^[0-9]+$")}
)
SUBMITTED = JOB | refusals(
    *PORTRAITS,
    *RECORDINGS,
    *OPTIONAL,
    "voice_not_installed",
    "not_found",
    "not_ready",
    "idempotency_conflict",
    "queue_full",
    "no_device",
)
Variant: TypeAlias = Literal["video", "thumbnail", "portrait", "speech"]
VARIANTS: dict[Variant, str] = {
    "video": "video/mp4", "thumbnail": "image/jpeg", "portrait": "image/png", "speech": "audio/flac",
}  # fmt: skip
NO_CLIP = refusals("not_found", "not_ready", "range_not_satisfiable")
MADE = file("The manifest.", "application/json")
GROWING_CLIP = file("The clip; headers of a file are there once it is whole.", VARIANTS["video"])
GROWING_CLIP[200]["headers"] = {name: told | {"required": False} for name, told in OF_FILES.items()}
MADE[200] |= json_of({"type": "object"})  # of whatever version made the clip
MADE[206]["content"] |= {"application/json": {}}  # a part of JSON is none


class Videos(Page, frozen=True, kw_only=True):
    """Jobs, a page of them."""

    data: list[Video]


class DeletedVideo(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="video.deleted"):
    id: str
    deleted: Literal[True] = True


@router.post(
    "",
    summary="Make a clip of a portrait and speech, or words",
    openapi_extra={"requestBody": SUBMISSION_BODY, "parameters": [IDEMPOTENCY_KEY]},
    responses=SUBMITTED,
)
async def create(request: Request, served: Served, caller: Calling, addresses: Addressing) -> Response:
    return _answer(await submit(request, served, caller, _idempotency_key(request)), served, addresses)


@router.get("", summary="Your jobs, newest first", responses=answer(Videos) | refusals("not_found"))
async def list_videos(
    served: Served,
    caller: Calling,
    addresses: Addressing,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> Answer:
    page, more = await served.desk.list(caller.sees, after=after, limit=limit, newest_first=order == "desc")
    return Answer(listing(Videos, [video_object(job, served.desk, addresses) for job in page], more))


@router.get("/{video_id}", summary="One job", responses=JOB | refusals("not_found"))
async def retrieve(video_id: str, served: Served, caller: Calling, addresses: Addressing) -> Response:
    return _answer(await served.desk.find(video_id, caller.sees), served, addresses)


@router.post(
    "/{video_id}/cancel",
    summary="End a job: a queued one now, a running one at its next checkpoint",
    responses=JOB | refusals("not_found"),
)
async def cancel(video_id: str, served: Served, caller: Calling, addresses: Addressing) -> Response:
    return _answer(await served.desk.cancel(video_id, caller.sees), served, addresses)


@router.post(
    "/{video_id}/pin",
    summary="Keep a clip until it is removed, whatever its age and however many there are",
    responses=JOB | refusals("not_found", "not_ready", "quota_exceeded"),
)
async def pin(video_id: str, served: Served, caller: Calling, addresses: Addressing) -> Response:
    return _answer(await pins.pin(served.desk, video_id, caller.sees), served, addresses)


@router.delete(
    "/{video_id}/pin",
    summary="Keep a clip no longer than a new one",
    responses=JOB | refusals("not_found"),
)
async def unpin(video_id: str, served: Served, caller: Calling, addresses: Addressing) -> Response:
    return _answer(await pins.unpin(served.desk, video_id, caller.sees), served, addresses)


@router.delete(
    "/{video_id}",
    summary="Cancel a job, wait for its end, remove its files",
    responses=answer(DeletedVideo) | refusals("not_found"),
)
async def delete(video_id: str, served: Served, caller: Calling) -> Answer:
    await served.desk.remove(video_id, caller.sees)
    return Answer(DeletedVideo(id=video_id))


@router.head("/{video_id}/content", include_in_schema=False)
@router.get(
    "/{video_id}/content",
    summary="The clip, its thumbnail, or what it is made of",
    response_class=Response,
    responses=file("The clip or what else is asked for.", *VARIANTS.values()) | NO_CLIP,
    openapi_extra=RANGES,
)
async def content(
    video_id: str,
    served: Served,
    caller: Calling,
    variant: Variant = "video",
) -> Download:
    job = await served.desk.find(video_id, caller.sees)
    if variant == "portrait":
        return download(served.desk.directory(job.id) / PORTRAIT, VARIANTS[variant], f"{job.id}.png", "inline")
    if variant == "speech":
        return download(speech_of(served, job), VARIANTS[variant], f"{job.id}.flac", "inline")
    _check_completed(job)
    if variant == "thumbnail":
        return download(served.desk.directory(job.id) / "thumbnail.jpg", VARIANTS[variant], f"{job.id}.jpg", "inline")
    return clip(served.desk, job)


@router.get(
    "/{video_id}/manifest",
    summary="What decided the clip's frames: inputs, options, weights, device and versions",
    response_class=Response,
    responses=MADE | NO_CLIP,
    openapi_extra=RANGES,
)
async def manifest(video_id: str, served: Served, caller: Calling) -> Download:
    job = await served.desk.find(video_id, caller.sees)
    _check_completed(job)
    return download(served.desk.directory(job.id) / MANIFEST, "application/json", f"{job.id}.json", "inline")


@router.head("/{video_id}/stream", include_in_schema=False)
@router.get(
    "/{video_id}/stream",
    summary="The clip while it is made: fragmented mp4",
    response_class=Response,
    responses=GROWING_CLIP | NO_CLIP,
    openapi_extra=RANGES,
)
async def stream(video_id: str, request: Request, served: Served, caller: Calling) -> Response:
    job = await served.desk.find(video_id, caller.sees)
    return stream_head(served.desk, job) if request.method == "HEAD" else Stream(served.desk, job)


def _check_completed(job: Job) -> None:
    if job.status != "completed":
        raise EchodError("not_ready", f"there is no clip yet: {why_none(job)}")


def _answer(job: Job, served: Services, addresses: Addresses) -> Answer:
    headers = {} if job.terminal else {"openai-poll-after-ms": POLL_AFTER_MS}
    return Answer(video_object(job, served.desk, addresses), headers=headers)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_KEY:
        raise invalid(f"the key has {len(key)} characters; 1 to {MAX_KEY} are allowed", "Idempotency-Key")
    return key
