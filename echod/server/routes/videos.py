"""/v1/videos: jobs in the shape of OpenAI's Videos."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from echod.errors import EchodError
from echod.inspection.messages import Inspected
from echod.jobs.desk import Draft
from echod.jobs.folder import PORTRAIT, SPEECH
from echod.jobs.job import Job
from echod.roles.role import Role
from echod.server.answers import FILE, OPTIONAL, PORTRAITS, RECORDINGS, refusals
from echod.server.caller import Caller
from echod.server.downloads import Download, download
from echod.server.multipart import parts
from echod.server.objects import listing, video_object
from echod.server.refusals import blaming, invalid, json_object
from echod.server.routes.stream import Stream, clip, stream_head, why_none
from echod.server.routes.submission import REFERENCES, Submission, check, nest, no_file
from echod.server.schemas import IDEMPOTENCY_KEY, MAX_KEY, SUBMISSION_BODY
from echod.server.services import Addresses, Addressing, Calling, Served, Services
from echod.speech.voices import find_voice
from echod.uploads.store import Receiving, display_name

POLL_AFTER_MS = "500"  # what OpenAI's clients wait between two looks at a job
MAX_LABEL = 200  # characters of a recording's name
EXTENSION = re.compile(r"(?<=.)\.\w{1,5}$")
KINDS: dict[str, Literal["portrait", "speech"]] = dict(zip(REFERENCES, ("portrait", "speech"), strict=True))

router = APIRouter(prefix="/v1/videos", tags=["videos"])
SUBMITTED = refusals(
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
CLIP = FILE | refusals("not_found", "not_ready", "range_not_satisfiable")


@router.post(
    "",
    summary="Make a clip of a portrait and speech, or words",
    openapi_extra={"requestBody": SUBMISSION_BODY, "parameters": [IDEMPOTENCY_KEY]},
    responses=SUBMITTED,
)
async def create(request: Request, served: Served, caller: Calling, addresses: Addressing) -> Response:
    key = _idempotency_key(request)
    async with AsyncExitStack() as stack:
        stack.enter_context(served.accounts.at_work(caller.account))
        fields, uploads = await _read(request, served, caller, stack)
        role = await _role(served, fields.get("model"))
        submission = check(fields, uploads, role)
        inputs = Inputs(served, caller, submission, uploads, role)
        portrait = await inputs.take("input_reference")
        speech = None if submission.speaks else await inputs.take("audio_reference")
        return _answer(await _accept(served, caller, submission, portrait, speech, key), served, addresses)


@router.get("", summary="Your jobs, newest first", responses=refusals("not_found"))
async def list_videos(
    served: Served,
    caller: Calling,
    addresses: Addressing,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    page, more = await served.desk.list(caller.sees, after=after, limit=limit, newest_first=order == "desc")
    return listing([video_object(job, served.desk, addresses) for job in page], more)


@router.get("/{video_id}", summary="One job", responses=refusals("not_found"))
async def retrieve(video_id: str, served: Served, caller: Calling, addresses: Addressing) -> Response:
    return _answer(await served.desk.find(video_id, caller.sees), served, addresses)


@router.post(
    "/{video_id}/cancel",
    summary="End a job: a queued one now, a running one at its next checkpoint",
    responses=refusals("not_found"),
)
async def cancel(video_id: str, served: Served, caller: Calling, addresses: Addressing) -> Response:
    return _answer(await served.desk.cancel(video_id, caller.sees), served, addresses)


@router.delete(
    "/{video_id}", summary="Cancel a job, wait for its end, remove its files", responses=refusals("not_found")
)
async def delete(video_id: str, served: Served, caller: Calling) -> dict[str, Any]:
    await served.desk.remove(video_id, caller.sees)
    return {"id": video_id, "object": "video.deleted", "deleted": True}


@router.head("/{video_id}/content", include_in_schema=False)
@router.get(
    "/{video_id}/content",
    summary="The clip, its thumbnail, or what it is made of",
    response_class=Response,
    responses=CLIP,
)
async def content(
    video_id: str,
    served: Served,
    caller: Calling,
    variant: Literal["video", "thumbnail", "portrait", "speech"] = "video",
) -> Download:
    job = await served.desk.find(video_id, caller.sees)
    if variant == "portrait":
        return download(served.desk.directory(job.id) / PORTRAIT, "image/png", f"{job.id}.png", "inline")
    if variant == "speech":
        return download(_speech(served, job), "audio/flac", f"{job.id}.flac", "inline")
    if job.status != "completed":
        raise EchodError("not_ready", f"there is no clip yet: {why_none(job)}")
    if variant == "thumbnail":
        return download(served.desk.directory(job.id) / "thumbnail.jpg", "image/jpeg", f"{job.id}.jpg", "inline")
    return clip(served.desk, job)


@router.head("/{video_id}/stream", include_in_schema=False)
@router.get(
    "/{video_id}/stream", summary="The clip while it is made: fragmented mp4", response_class=Response, responses=CLIP
)
async def stream(video_id: str, request: Request, served: Served, caller: Calling) -> Response:
    job = await served.desk.find(video_id, caller.sees)
    return stream_head(served.desk, job) if request.method == "HEAD" else Stream(served.desk, job)


def _speech(served: Services, job: Job) -> Path:
    if job.speech is None:
        raise EchodError("not_ready", f"job {job.id} has no speech: its words have not been spoken")
    return served.desk.directory(job.id) / SPEECH


def _answer(job: Job, served: Services, addresses: Addresses) -> JSONResponse:
    headers = {} if job.terminal else {"openai-poll-after-ms": POLL_AFTER_MS}
    return JSONResponse(video_object(job, served.desk, addresses), headers=headers)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_KEY:
        raise invalid(f"the key has {len(key)} characters; 1 to {MAX_KEY} are allowed", "Idempotency-Key")
    return key


@dataclass(frozen=True)
class Upload:
    """A file that came inside the form, not inspected yet."""

    filename: str
    receiving: Receiving


async def _read(
    request: Request, served: Services, caller: Caller, stack: AsyncExitStack
) -> tuple[Mapping[str, Any], dict[str, Upload]]:
    """The fields of the body, and the files in it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request, served, caller, stack)
    if kind != "application/json":
        raise invalid(f"Content-Type {kind!r}: send multipart/form-data or application/json", "Content-Type")
    return json_object("body", await request.body()), {}


async def _read_form(
    request: Request, served: Services, caller: Caller, stack: AsyncExitStack
) -> tuple[dict[str, Any], dict[str, Upload]]:
    fields: dict[str, Any] = {}
    uploads: dict[str, Upload] = {}
    async for part in parts(request):
        if part.filename is None:
            if part.name in REFERENCES:
                raise no_file(part.name)
            nest(part.name, await part.text(), fields)
            continue
        if part.name not in REFERENCES or part.name in uploads:
            raise invalid(f"a file is given as {part.name!r}; one each may be {', '.join(REFERENCES)}", part.name)
        receiving = await stack.enter_async_context(served.files.receive(caller.account))
        uploads[part.name] = Upload(part.filename, receiving)
        with blaming(part.name):
            async for chunk in part.chunks():
                await receiving.write(chunk)
    return fields, uploads


async def _role(served: Services, model: Any) -> Role | None:
    """The role that a request names as its model, if it does."""
    if not (isinstance(model, str) and model.startswith("role:")):
        return None
    try:
        return await served.roles.find(model.removeprefix("role:"))
    except EchodError as error:
        if error.code != "not_found":
            raise
        raise EchodError("model_not_loaded", error.message, param="model") from None


class Input(NamedTuple):
    """An inspected file, and what a clip of it is called where the request does not say."""

    inspected: Inspected
    label: str | None = None


@dataclass(frozen=True)
class Inputs:
    """The files a submission names or brings along, and its role's portrait."""

    served: Services
    caller: Caller
    submission: Submission
    uploads: Mapping[str, Upload]
    role: Role | None

    async def take(self, name: str) -> Input:
        """The file of a field; one that came with the request lives as long as its `receiving`."""
        with blaming(name):
            if name in self.uploads:
                upload = self.uploads[name]
                return Input(await upload.receiving.inspect(upload.filename, KINDS[name]), _label(upload.filename))
            if name in self.submission.references:
                kind, given = self.submission.references[name]
                return await (self._of_file(name, given) if kind == "file_id" else self._of_job(name, given))
            assert self.role  # what lacks otherwise is refused before
            return Input(Inspected(kind="portrait", prepared=self.role.picture, portrait=self.role.portrait))

    async def _of_file(self, name: str, file_id: str) -> Input:
        files, kind = self.served.files, KINDS[name]
        record = await files.find(file_id, self.caller.sees)
        if record.kind != kind:
            raise invalid(f"{name} must be a {kind}; file {record.id} is a {record.kind}", name)
        found = Inspected(kind=kind, prepared=files.prepared(record), portrait=record.portrait, speech=record.speech)
        return Input(found, _label(record.filename))

    async def _of_job(self, name: str, video_id: str) -> Input:
        """What another job is made of."""
        job = await self.served.desk.find(video_id, self.caller.sees)
        if KINDS[name] == "speech":
            found = Inspected(kind="speech", prepared=_speech(self.served, job), speech=job.speech)
            return Input(found, job.title)
        prepared = self.served.desk.directory(job.id) / PORTRAIT
        return Input(Inspected(kind="portrait", prepared=prepared, portrait=job.portrait))


async def _accept(
    served: Services,
    caller: Caller,
    submission: Submission,
    portrait: Input,
    speech: Input | None,
    key: str | None,
) -> Job:
    picture, recording = portrait.inspected, speech.inspected if speech else None
    assert picture.portrait is not None
    facts = recording.speech if recording else None
    engine = served.desk.engine(submission.engine)
    fingerprint = submission.fingerprint(engine, picture.portrait.sha256, facts.sha256 if facts else None)
    if key is not None and (earlier := await served.desk.replay(caller.account, key, fingerprint)):
        return earlier
    voice = await find_voice(served.calls, submission.voice, submission.prompt or "") if submission.speaks else None
    return await served.desk.accept(
        Draft(
            account=caller.account,
            portrait=picture.portrait,
            portrait_file=picture.prepared,
            speech=facts,
            speech_file=recording.prepared if recording else None,
            engine=engine,
            options=submission.options,
            prompt=submission.prompt or (speech.label if speech else None),
            spoken=submission.speaks,
            voice=str(voice) if voice else None,
            metadata=submission.metadata,
            idempotency_key=key,
            fingerprint=fingerprint,
        )
    )


def _label(filename: str) -> str:
    return EXTENSION.sub("", display_name(filename))[:MAX_LABEL]
