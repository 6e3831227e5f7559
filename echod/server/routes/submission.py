"""What a request for a clip asks for: fields checked, the same for JSON bodies and multipart forms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from echod.errors import EchodError
from echod.jobs.job import Options
from echod.jobs.options import check_options
from echod.server.refusals import invalid

if TYPE_CHECKING:
    from echod.roles.role import Role

REFERENCES = ("input_reference", "audio_reference")  # the portrait and the speech, by OpenAI's and vLLM-Omni's names
FIELDS = (*REFERENCES, "prompt", "model", "size", "seed", "fps", "steps", "guidance", "voice", "seconds", "lossless",
          "metadata")  # fmt: skip

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
    options: Options
    prompt: str | None
    metadata: dict[str, str]
    references: dict[str, Reference]
    speaks: bool  # the prompt is to be spoken, for there is no recording
    voice: str | None

    def fingerprint(self, engine: str, portrait_sha256: str, speech_sha256: str | None) -> str:
        """The same for requests that ask for the same clip. `speech_sha256` is None where the prompt is spoken."""
        asked = [engine, self.options, self.prompt, self.metadata, portrait_sha256, speech_sha256 or [self.voice]]
        return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def nest(name: str, value: str, into: dict[str, Any]) -> None:
    """Put a form field where JSON would have it: `metadata[key]` under "key" in the object "metadata"."""
    match = re.fullmatch(r"([^\[\]]+)\[([^\[\]]*)\]", name)
    place, key = (into.setdefault(match[1], {}), match[2]) if match else (into, name)
    if not isinstance(place, dict) or key in place:
        raise invalid(f"field {name!r} is given more than once", name)
    place[key] = value


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
        options=check_options({**(role.file.options if role else {}), **given}),
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
