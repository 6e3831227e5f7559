"""The events that a client of /v1/realtime gets: OpenAI Realtime's, and those of clips."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from echod.conversation.dialogue import Cause, Outcome
from echod.conversation.ear import INPUT_RATE, Eagerness
from echod.conversation.history import Author
from echod.conversation.turn import Modality, Timings
from echod.jobs.job import View
from echod.server.answers import Fault
from echod.sound.pcm import SPEAK_RATE
from echod.speech.tools import Tool

Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]
Most: TypeAlias = int | Literal["inf"]
Base64: TypeAlias = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]


def _id() -> str:
    return f"event_{secrets.token_hex(10)}"


class Event(msgspec.Struct, kw_only=True, tag_field="type"):
    event_id: str = msgspec.field(default_factory=_id)


# What events are about


class Format(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="audio/pcm"):
    """pcm16, mono."""

    rate: Literal[INPUT_RATE, SPEAK_RATE]  # type: ignore[valid-type]


class Language(msgspec.Struct, frozen=True):
    language: str | None


class ServerVad(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="server_vad"):
    threshold: float
    prefix_padding_ms: int
    silence_duration_ms: int
    create_response: bool
    interrupt_response: bool


class SemanticVad(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="semantic_vad"):
    eagerness: Eagerness
    create_response: bool
    interrupt_response: bool


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """`turn_detection` is null where the client says when somebody has spoken."""

    format: Format
    transcription: Language | None
    turn_detection: ServerVad | SemanticVad | None


class Output(msgspec.Struct, frozen=True, kw_only=True):
    format: Format
    voice: str | None


class Audio(msgspec.Struct, frozen=True, kw_only=True):
    input: Input
    output: Output | UnsetType = UNSET


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What clips show; null: as the role has it."""

    view: View | None


class Function(Tool, frozen=True, tag_field="type", tag="function"):
    pass


class Choice(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    name: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is what `?conversation=` returns with. A session of transcription has its sound alone."""

    type: Literal["realtime", "transcription"]
    object: Literal["realtime.session"]
    id: str
    audio: Audio
    model: str | UnsetType = UNSET
    output_modalities: list[Modality] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    video: Shown | UnsetType = UNSET
    tools: list[Function] | UnsetType = UNSET
    tool_choice: Literal["auto", "none", "required"] | Choice | UnsetType = UNSET
    max_output_tokens: Most | UnsetType = UNSET


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message: its text, or the words of its sound."""

    type: Literal["input_text", "input_audio", "output_text", "output_audio", "text", "audio"]
    text: str | UnsetType = UNSET
    transcript: str | UnsetType = UNSET


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A message, the call of a function (`name`, `arguments`) or what came of one (`output`)."""

    id: str
    object: Literal["realtime.item"]
    status: Status
    type: Literal["message", "function_call", "function_call_output"]
    role: Author | UnsetType = UNSET
    content: list[Content] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    call_id: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    output: str | UnsetType = UNSET


class Details(msgspec.Struct, frozen=True, kw_only=True):
    type: Outcome
    reason: Literal["max_output_tokens"] | Cause | UnsetType = UNSET
    error: Fault | UnsetType = UNSET


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """`echod` is what took how long, once it is done."""

    object: Literal["realtime.response"]
    id: str
    status: Literal["in_progress"] | Outcome
    status_details: Details | None
    output: list[Item]
    conversation_id: str
    output_modalities: list[Modality]
    max_output_tokens: Most
    metadata: Any
    usage: None
    echod: Timings | UnsetType = UNSET


class Duration(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="duration"):
    seconds: float


class EventFault(Fault, frozen=True, kw_only=True):
    """`event_id` is that of the client's event at fault."""

    event_id: Any | UnsetType = UNSET


# Events


class SessionCreated(Event, tag="session.created"):
    session: Session


class SessionUpdated(Event, tag="session.updated"):
    session: Session


class Error(Event, tag="error"):
    error: EventFault


class Committed(Event, tag="input_audio_buffer.committed"):
    item_id: str
    previous_item_id: str | None


class Cleared(Event, tag="input_audio_buffer.cleared"):
    pass


class SpeechStarted(Event, tag="input_audio_buffer.speech_started"):
    audio_start_ms: int
    item_id: str


class SpeechStopped(Event, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int
    item_id: str


class ItemAdded(Event, tag="conversation.item.added"):
    previous_item_id: str | None
    item: Item


class ItemDone(Event, tag="conversation.item.done"):
    previous_item_id: str | None
    item: Item


class ItemRetrieved(Event, tag="conversation.item.retrieved"):
    item: Item


class ItemDeleted(Event, tag="conversation.item.deleted"):
    item_id: str


class ItemTruncated(Event, tag="conversation.item.truncated"):
    """`transcript` is what is left of the words."""

    item_id: str
    content_index: int
    audio_end_ms: int
    transcript: str


class Transcribed(Event, tag="conversation.item.input_audio_transcription.completed"):
    item_id: str
    content_index: int
    transcript: str
    usage: Duration


class NotTranscribed(Event, tag="conversation.item.input_audio_transcription.failed"):
    item_id: str
    content_index: int
    error: Fault


class ResponseCreated(Event, tag="response.created"):
    response: Response


class ResponseDone(Event, tag="response.done"):
    response: Response


class OfResponse(Event):
    response_id: str
    output_index: int


class OutputItemAdded(OfResponse, tag="response.output_item.added"):
    item: Item


class OutputItemDone(OfResponse, tag="response.output_item.done"):
    item: Item


class OfCall(OfResponse):
    item_id: str
    call_id: str


class ArgumentsDelta(OfCall, tag="response.function_call_arguments.delta"):
    delta: str


class ArgumentsDone(OfCall, tag="response.function_call_arguments.done"):
    name: str
    arguments: str


class OfPart(OfResponse):
    item_id: str
    content_index: int


class PartAdded(OfPart, tag="response.content_part.added"):
    part: Content


class PartDone(OfPart, tag="response.content_part.done"):
    part: Content


class TextDelta(OfPart, tag="response.output_text.delta"):
    delta: str


class TextDone(OfPart, tag="response.output_text.done"):
    text: str


class TranscriptDelta(OfPart, tag="response.output_audio_transcript.delta"):
    delta: str


class TranscriptDone(OfPart, tag="response.output_audio_transcript.done"):
    transcript: str


class AudioDelta(OfPart, tag="response.output_audio.delta"):
    """pcm16, mono, 24 kHz."""

    delta: Base64


class AudioDone(OfPart, tag="response.output_audio.done"):
    pass


class OfClip(OfPart):
    """`index` counts the clips of a response: one is made of each sentence."""

    video_id: str
    index: int


class VideoAdded(OfClip, tag="response.output_video.added"):
    """The clip's job is in the queue; the signed address plays it while it is made."""

    sentence: str
    stream_url: str


class VideoProgress(OfClip, tag="response.output_video.progress"):
    progress: int
    stage: str | None


class VideoDone(OfClip, tag="response.output_video.done"):
    url: str


EVENTS: tuple[type[Event], ...] = (
    SessionCreated, SessionUpdated, Error, Committed, Cleared, SpeechStarted, SpeechStopped, ItemAdded, ItemDone,
    ItemRetrieved, ItemDeleted, ItemTruncated, Transcribed, NotTranscribed, ResponseCreated, ResponseDone,
    OutputItemAdded, OutputItemDone, ArgumentsDelta, ArgumentsDone, PartAdded, PartDone, TextDelta, TextDone,
    TranscriptDelta, TranscriptDone, AudioDelta, AudioDone, VideoAdded, VideoProgress, VideoDone,
)  # fmt: skip
BY_TYPE = {str(kind.__struct_config__.tag): kind for kind in EVENTS}
