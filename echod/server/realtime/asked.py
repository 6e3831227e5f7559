"""What a client of /v1/realtime may send, for /asyncapi.json alone: it is read field by field, to say what is wrong.

Beside what is here OpenAI's clients may send along what changes nothing: `session_object.IGNORED`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from echod.conversation.ear import INPUT_RATE, Eagerness
from echod.conversation.turn import Modality
from echod.jobs.job import View
from echod.server.realtime.events import Base64, Choice, Most
from echod.server.realtime.item_object import MAX_OUTPUT, MAX_TEXT, PARTS
from echod.server.realtime.session import MAX_MS
from echod.server.realtime.session_object import MAX_INSTRUCTIONS, RANGES
from echod.server.realtime.tools import MAX_TOOLS, NAME
from echod.sound.pcm import SPEAK_RATE

Instructions: TypeAlias = Annotated[str, Meta(max_length=MAX_INSTRUCTIONS)]
Modalities: TypeAlias = Annotated[list[Modality], Meta(min_length=1, max_length=1)]
PartType: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": list(PARTS)})]


class InputFormat(msgspec.Struct, kw_only=True):
    type: Literal["audio/pcm"] | UnsetType = UNSET
    rate: Annotated[int, Meta(ge=INPUT_RATE, le=INPUT_RATE)] | UnsetType = UNSET


class OutputFormat(msgspec.Struct, kw_only=True):
    type: Literal["audio/pcm"] | UnsetType = UNSET
    rate: Annotated[int, Meta(ge=SPEAK_RATE, le=SPEAK_RATE)] | UnsetType = UNSET


class Transcription(msgspec.Struct, kw_only=True):
    """Which language is heard; whatever else is said of it changes nothing."""

    language: Annotated[str, Meta(min_length=2, max_length=35)] | UnsetType | None = UNSET


class TurnDetection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """server_vad has a threshold and milliseconds, semantic_vad an eagerness."""

    type: Literal["server_vad", "semantic_vad"] | UnsetType = UNSET
    threshold: Annotated[float, Meta(ge=RANGES["threshold"][0], le=RANGES["threshold"][1])] | UnsetType | None = UNSET
    prefix_padding_ms: (
        Annotated[int, Meta(ge=RANGES["prefix_padding_ms"][0], le=RANGES["prefix_padding_ms"][1])] | UnsetType | None
    ) = UNSET
    silence_duration_ms: (
        Annotated[int, Meta(ge=RANGES["silence_duration_ms"][0], le=RANGES["silence_duration_ms"][1])]
        | UnsetType
        | None
    ) = UNSET
    eagerness: Eagerness | UnsetType | None = UNSET
    create_response: bool | UnsetType | None = UNSET
    interrupt_response: bool | UnsetType | None = UNSET
    idle_timeout_ms: Any | UnsetType = UNSET


class AskedInput(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`turn_detection` of null: the client says when somebody has spoken. `noise_reduction` changes nothing."""

    format: InputFormat | UnsetType = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET
    noise_reduction: Any | UnsetType = UNSET


class VoiceId(msgspec.Struct):
    id: str


class AskedOutput(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A voice of GET /v1/voices. `speed` changes nothing."""

    format: OutputFormat | UnsetType = UNSET
    voice: Annotated[str, Meta(min_length=1, max_length=128)] | VoiceId | UnsetType | None = UNSET
    speed: Any | UnsetType = UNSET


class AskedAudio(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    input: AskedInput | UnsetType = UNSET
    output: AskedOutput | UnsetType = UNSET


class AskedVideo(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    view: View | UnsetType | None = UNSET


class AskedFunction(msgspec.Struct, kw_only=True):
    """A function that a model may call; `parameters` is a JSON schema."""

    type: Literal["function"] | UnsetType = UNSET
    name: Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]
    description: str | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType | None = UNSET


class Changes(msgspec.Struct, kw_only=True):
    """What is omitted stays as it is."""

    output_modalities: Modalities | UnsetType = UNSET
    instructions: Instructions | UnsetType | None = UNSET
    audio: AskedAudio | UnsetType = UNSET
    video: AskedVideo | UnsetType = UNSET
    tools: Annotated[list[AskedFunction], Meta(max_length=MAX_TOOLS)] | UnsetType | None = UNSET
    tool_choice: Literal["auto", "none", "required"] | Choice | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    max_output_tokens: Most | UnsetType | None = UNSET


class AskedSession(Changes, kw_only=True):
    type: Literal["realtime", "transcription"] | UnsetType = UNSET


class AskedResponse(Changes, kw_only=True):
    """Of this response alone; its instructions come on top of the session's."""

    conversation: Literal["auto"] | UnsetType | None = UNSET
    metadata: Any | UnsetType = UNSET


class AskedContent(msgspec.Struct, kw_only=True):
    """Words: of text as `text`, of sound as `transcript`."""

    type: PartType
    text: str | UnsetType | None = UNSET
    transcript: str | UnsetType | None = UNSET


class AskedItem(msgspec.Struct, kw_only=True):
    """A message (`role`, `content`), the call of a function (`name`, `arguments`), or what came of one (`output`)."""

    type: Literal["message", "function_call", "function_call_output"]
    id: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    role: Literal["user", "assistant", "system"] | UnsetType = UNSET
    content: (
        Annotated[list[AskedContent], Meta(min_length=1, description=f"At most {MAX_TEXT} characters.")] | UnsetType
    ) = UNSET
    call_id: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    name: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    arguments: Annotated[str, Meta(max_length=MAX_OUTPUT)] | UnsetType = UNSET
    output: Annotated[str, Meta(max_length=MAX_OUTPUT)] | UnsetType = UNSET


class Asked(msgspec.Struct, kw_only=True, tag_field="type"):
    event_id: str | UnsetType | None = UNSET


class UpdateSession(Asked, kw_only=True, tag="session.update"):
    session: AskedSession


class AppendSound(Asked, kw_only=True, tag="input_audio_buffer.append"):
    """pcm16, mono, 24 kHz."""

    audio: Base64


class CommitSound(Asked, kw_only=True, tag="input_audio_buffer.commit"):
    pass


class ClearSound(Asked, kw_only=True, tag="input_audio_buffer.clear"):
    pass


class CreateItem(Asked, kw_only=True, tag="conversation.item.create"):
    """`previous_item_id`: it comes behind that one; null: at the end."""

    item: AskedItem
    previous_item_id: str | UnsetType | None = UNSET


class RetrieveItem(Asked, kw_only=True, tag="conversation.item.retrieve"):
    item_id: str


class DeleteItem(Asked, kw_only=True, tag="conversation.item.delete"):
    item_id: str


class TruncateItem(Asked, kw_only=True, tag="conversation.item.truncate"):
    """`audio_end_ms` is what was heard."""

    item_id: str
    content_index: int | UnsetType = UNSET
    audio_end_ms: Annotated[int, Meta(ge=0, le=MAX_MS)]


class CreateResponse(Asked, kw_only=True, tag="response.create"):
    response: AskedResponse | UnsetType | None = UNSET


class CancelResponse(Asked, kw_only=True, tag="response.cancel"):
    response_id: str | UnsetType | None = UNSET


ASKED: tuple[type[Asked], ...] = (
    UpdateSession, AppendSound, CommitSound, ClearSound, CreateItem, RetrieveItem, DeleteItem, TruncateItem,
    CreateResponse, CancelResponse,
)  # fmt: skip
