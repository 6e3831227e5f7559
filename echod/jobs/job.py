"""A job: one accepted request, as a value."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from echod.config import Config
from echod.inference.framing import DILATION, Box, Rect
from echod.inference.limits import DEFAULT_SEED, MAX_PICTURE, picture_size
from echod.inspection.facts import PortraitFacts, SpeechFacts

Status: TypeAlias = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
View: TypeAlias = Literal["face", "picture"]  # the crop, or the whole portrait with the head moving in it
Stage: TypeAlias = Literal["speak", "face", "audio", "reference", "denoise", "decode", "mux"]
TERMINAL = frozenset({"completed", "failed", "cancelled"})

BATCH, CONVERSATION = 0, 1  # a conversation job is dispatched first and runs on top of a batch job

TITLE = "title"  # the key of a job's metadata that says what it is called
MAX_TITLE = 80  # characters


class ClipOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller may choose about a clip; None leaves the choice to the engine.

    `width` and `height` are those of the frames that an engine makes, and in view face of the clip. One that shows the
    picture has at most `max_picture` pixels a side. That, and what was not said of the `label`, is as the settings were
    when the job was accepted.
    """

    width: int = 512
    height: int = 512
    view: View = "face"
    max_picture: int = MAX_PICTURE
    crop: Rect | None = None  # in the pixels of the portrait
    dilation: float = DILATION
    face: int | None = None  # from left to right; None: the largest
    fps: int = 24
    steps: int | None = None
    guidance: float | None = None
    seed: int = DEFAULT_SEED
    lossless: bool = False
    live: bool = False  # somebody waits for the first frame: nothing is held back to encode it better
    joins: tuple[bool, bool] = (False, False)  # an avatar's speech goes on from the clip before, and into the next
    chained: bool = False  # it goes on from the clip before where its engine can, and the next from it
    label: str | None = None  # of LABELS
    label_language: str | None = None

    def settled(self, config: Config) -> ClipOptions:
        """With what the settings decide."""
        return msgspec.structs.replace(
            self,
            max_picture=config.max_picture,
            label=self.label or config.label,
            label_language=self.label_language or config.label_language,
        )


class JobFailure(msgspec.Struct, frozen=True):
    """Why a job failed: a code from `errors.TABLE` and a sentence."""

    code: str
    message: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request: a portrait and speech that becomes one clip. Times are seconds since the epoch."""

    id: str
    account: str
    status: Status = "queued"
    priority: int = BATCH
    engine: str
    options: ClipOptions = ClipOptions()
    portrait: PortraitFacts
    speech: SpeechFacts | None  # None until the words of a text job are spoken
    prompt: str | None = None
    spoken: bool = False  # whether the speech is that of the prompt
    voice: str | None = None
    speak_ms: int | None = None
    metadata: dict[str, str] = {}
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    pinned: bool = False  # then it never expires

    attempt: int = 0
    device: str | None = None
    devices: tuple[str, ...] = ()  # all that have computed some of it, in the order they came
    dtype: str | None = None  # in which `device` computes; None: the engine has no choice of it
    approximation: str | None = None  # what is computed otherwise than the engine's authors do
    deaths: int = 0
    exceptions: int = 0
    out_of_memory: int = 0
    cancel_requested: bool = False
    error: JobFailure | None = None

    # Progress of the running attempt: kept in memory, written to the journal only with the next status.
    stage: str | None = None
    progress: float = 0.0  # as shown: an attempt that goes on where another was begins with what that one had
    share: float = 0.0  # of all work, as the running attempt itself counts it
    share_resumed: float = 0.0  # what was done of it when it began
    windows_done: int = 0
    windows_total: int = 0
    streaming: bool = False
    crop: tuple[int, int, int, int] | None = None
    faces: int | None = None
    frames: int = 0
    windows_resumed: int = 0  # those that an earlier attempt had computed
    unsigned: str | None = None  # why the clip has no Content Credentials though it was to have them
    timings_ms: dict[str, int] = {}

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the clip."""
        return clip_size(self.options, self.portrait)

    @property
    def box(self) -> Box | None:
        """The face that is meant."""
        return face_box(self.options, self.portrait)

    @property
    def title(self) -> str | None:
        """What the clip is called, in a line: by its title, by its recording, or by the first words said in it."""
        line = " ".join((self.metadata.get(TITLE) or self.prompt or "").split())
        if len(line) <= MAX_TITLE:
            return line or None
        start = line[: MAX_TITLE - 1]
        return (start.rpartition(" ")[0] or start).rstrip(".,;:") + "…"


def clip_size(options: ClipOptions, portrait: PortraitFacts) -> tuple[int, int]:
    if options.view == "picture":
        return picture_size((portrait.width, portrait.height), options.max_picture)
    return options.width, options.height


def face_box(options: ClipOptions, portrait: PortraitFacts) -> Box | None:
    return portrait.box if options.face is None else dict(enumerate(portrait.boxes)).get(options.face)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose inputs have been inspected; `accept` makes it a job. Files are linked, not moved."""

    account: str
    portrait: PortraitFacts
    portrait_file: Path
    speech: SpeechFacts | None = None  # None: the prompt is to be spoken
    speech_file: Path | None = None
    before: Path | None = None  # the end of the clip that it goes on from
    engine: str | None = None
    options: ClipOptions = ClipOptions()
    prompt: str | None = None
    spoken: bool = False
    voice: str | None = None
    metadata: dict[str, str] = {}
    priority: int = BATCH
    idempotency_key: str | None = None
    fingerprint: str | None = None

    def job(self, engine: str, config: Config, now: float) -> Job:
        return Job(
            id=new_job_id(),
            account=self.account,
            priority=self.priority,
            engine=engine,
            options=self.options.settled(config),
            portrait=self.portrait,
            speech=self.speech,
            prompt=self.prompt,
            spoken=self.spoken,
            voice=self.voice,
            stage="speak" if self.speech is None else None,
            metadata=self.metadata,
            created_at=now,
            faces=self.portrait.faces,
        )


def new_job_id() -> str:
    return f"video_{secrets.token_hex(16)}"
