"""A request for a clip: its fields checked, the same for JSON bodies and multipart forms, its inputs, its job."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from starlette.requests import Request

from echod.errors import EchodError, invalid
from echod.inspection.messages import Inspected
from echod.jobs.folder import PORTRAIT, SPEECH
from echod.jobs.job import ClipOptions, Draft, Job
from echod.jobs.options import check_framing, check_options
from echod.roles.role import Role
from echod.server.caller import Caller
from echod.server.multipart import Part, Upload, read_form
from echod.server.refusals import blaming, json_object
from echod.server.services import Services
from echod.speech.voices import find_voice
from echod.uploads.store import display_name

REFERENCES = ("input_reference", "audio_reference")  # the portrait and the speech, by OpenAI's and vLLM-Omni's names
FIELDS = (*REFERENCES, "prompt", "model", "size", "seed", "fps", "steps", "guidance", "voice", "seconds", "lossless",
          "live", "view", "crop", "dilation", "face", "label", "label_language", "metadata")  # fmt: skip

KINDS: dict[str, Literal["portrait", "speech"]] = dict(zip(REFERENCES, ("portrait", "speech"), strict=True))

MAX_LABEL = 200  # characters of a recording's name
EXTENSION = re.compile(r"(?<=.)\.\w{1,5}$")
MAX_PROMPT, MAX_VOICE = 10_000, 128
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512  # OpenAI's limits


class Reference(NamedTuple):
    """An input that the daemon has already: an uploaded file, or what another job was made of."""

    kind: Literal["file_id", "video_id"]
    id: str


@dataclass(frozen=True)
class Submission:
    """A checked request. `references` has the inputs named by an id; the others came with the request."""

    engine: str | None
    options: ClipOptions
    prompt: str | None
    metadata: dict[str, str]
    references: dict[str, Reference]
    speaks: bool  # the prompt is to be spoken, for there is no recording
    voice: str | None

    def fingerprint(self, engine: str, portrait_sha256: str, speech_sha256: str | None) -> str:
        """The same for requests that ask for the same clip. `speech_sha256` is None where the prompt is spoken."""
        asked = [engine, self.options, self.prompt, self.metadata, portrait_sha256, speech_sha256 or [self.voice]]
        return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def check(fields: Mapping[str, Any], uploaded: Collection[str], role: Role | None = None) -> Submission:
    """Check every field; `uploaded` names the references that came as files. EchodError invalid_request and others.

    What is not given is as the `role` has it: the portrait, the engine and its options.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if name not in FIELDS:
            raise invalid(f"there is no field {name!r}; known are {', '.join(FIELDS)}", name)
    references = _references(given, uploaded, role)
    speaks = "audio_reference" not in (*references, *uploaded)
    prompt, voice = _text(given, "prompt", MAX_PROMPT), _text(given, "voice", MAX_VOICE)
    if speaks and not (prompt or "").strip():
        raise invalid(
            "there is nothing to say: send a recording as audio_reference, or words as prompt", "audio_reference"
        )
    if voice and not speaks:
        raise invalid("voice is for speaking a prompt, and there is a recording: leave out one of them", "voice")
    return Submission(
        engine=role.file.engine if role else _text(given, "model", 128),
        options=check_options({**role.file.options, **given}, "picture") if role else check_options(given),
        prompt=prompt,
        metadata=_metadata(given.get("metadata", {})),
        references=references,
        speaks=speaks,
        voice=voice or (role.file.voice if role and speaks else None),
    )


def _text(given: Mapping[str, Any], name: str, limit: int) -> str | None:
    value = given.get(name)
    if value is not None and not (isinstance(value, str) and len(value) <= limit):
        found = f"it has {len(value)}" if isinstance(value, str) else "it is none"
        raise invalid(f"{name} must be text of at most {limit} characters; {found}", name)
    return value or None


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_METADATA:
        raise invalid(f"metadata must be an object of at most {MAX_METADATA} keys", "metadata")
    for key, text in value.items():
        if len(key) > MAX_METADATA_KEY or not isinstance(text, str) or len(text) > MAX_METADATA_VALUE:
            raise invalid(
                f"metadata[{key[:MAX_METADATA_KEY]}]: keys have at most {MAX_METADATA_KEY} characters, "
                f"values are text of at most {MAX_METADATA_VALUE}",
                "metadata",
            )
    return value


def _references(given: Mapping[str, Any], uploaded: Collection[str], role: Role | None) -> dict[str, Reference]:
    found = {name: _reference(name, given[name]) for name in REFERENCES if name in given}
    for name in found:
        if name in uploaded:
            raise invalid(f"{name} is given both as a file and as a file id", name)
    if "input_reference" not in (*found, *uploaded) and role is None:
        raise invalid("the portrait is missing: send it as input_reference", "input_reference")
    return found


def _reference(name: str, value: Any) -> Reference:
    match value:
        case {"file_id": str(file_id)} if len(value) == 1:
            return Reference("file_id", file_id)
        case {"video_id": str(video_id)} if len(value) == 1:
            return Reference("video_id", video_id)
    raise no_file(name)


def no_file(name: str) -> EchodError:
    return invalid(
        f'{name} must be a file part of a form, the object {{"file_id": ...}} of a file sent to POST /v1/files before, '
        'or {"video_id": ...} for that of another job. Text, URLs and base64 are not taken.',
        name,
    )


async def submit(request: Request, served: Services, caller: Caller, key: str | None) -> Job:
    """The job that a request asks for, or has asked for before with this idempotency key."""
    async with AsyncExitStack() as stack:
        stack.enter_context(served.accounts.at_work(caller.account))
        fields, uploads = await _read(request, served, caller, stack)
        role = await _role(served, fields.get("model"))
        submission = check(fields, uploads, role)
        inputs = Inputs(served, caller, submission, uploads, role)
        portrait = await inputs.take("input_reference")
        speech = None if submission.speaks else await inputs.take("audio_reference")
        return await _accept(served, caller, submission, portrait, speech, key)


async def _read(
    request: Request, served: Services, caller: Caller, stack: AsyncExitStack
) -> tuple[Mapping[str, Any], dict[str, Upload]]:
    """The fields of the body, and the files in it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await read_form(request, served.files, caller.account, stack, REFERENCES, _misplaced)
    if kind != "application/json":
        raise invalid(f"Content-Type {kind!r}: send multipart/form-data or application/json", "Content-Type")
    return json_object("body", await request.body()), {}


def _misplaced(part: Part) -> EchodError:
    if part.filename is None:
        return no_file(part.name)
    return invalid(f"a file is given as {part.name!r}; one each may be {', '.join(REFERENCES)}", part.name)


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
            return Input(Inspected(kind="speech", prepared=speech_of(self.served, job), speech=job.speech), job.title)
        prepared = self.served.desk.directory(job.id) / PORTRAIT
        return Input(Inspected(kind="portrait", prepared=prepared, portrait=job.portrait))


async def _accept(
    served: Services, caller: Caller, submission: Submission, portrait: Input, speech: Input | None, key: str | None
) -> Job:
    picture, recording = portrait.inspected, speech.inspected if speech else None
    assert picture.portrait is not None
    check_framing(submission.options, picture.portrait)
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


def speech_of(served: Services, job: Job) -> Path:
    if job.speech is None:
        raise EchodError("not_ready", f"job {job.id} has no speech: its words have not been spoken")
    return served.desk.directory(job.id) / SPEECH
