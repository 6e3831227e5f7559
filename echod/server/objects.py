"""A job as clients see it, over HTTP and in events alike."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from echod.inference.framing import Box, Rect
from echod.jobs import advice
from echod.jobs.desk import Desk
from echod.jobs.job import CONVERSATION, Job, JobFailure, Status, View
from echod.server.services import Addresses

ETA_FROM = 0.05  # of an attempt's work; before that the time left cannot be told


class FramedPortrait(msgspec.Struct, frozen=True, kw_only=True):
    """The portrait in pixels: its size, and x0, y0, x1, y1 of the face that is meant and of all, from left to right."""

    width: int
    height: int
    box: Box | None
    boxes: tuple[Box, ...]


class AskedFraming(msgspec.Struct, frozen=True, kw_only=True):
    """The framing as it was asked for: null where it was left open."""

    crop: Rect | None
    dilation: float
    face: int | None


class VideoExtras(msgspec.Struct, frozen=True, kw_only=True):
    """What OpenAI's Video has no place for. Urls are signed, and expire."""

    title: str | None
    created_at: float  # to the fraction: many may be accepted in one second
    account: str
    queue_position: Annotated[int | None, Meta(description="0 is next; null once it is not queued any more.")]
    eta_s: Annotated[float | None, Meta(description="Seconds left; null where nobody can tell yet.")]
    stage: Annotated[str | None, Meta(description="speak, face, audio, reference, denoise, decode or mux.")]
    windows_done: int
    windows_total: int
    windows_resumed: Annotated[int, Meta(description="Those that an earlier attempt had computed.")]
    view: View
    seed: int
    fps: int
    steps: int | None
    guidance: float | None
    lossless: bool
    live: bool
    label: str | None
    label_language: str | None
    device: Annotated[str | None, Meta(description="The one that makes the clip.")]
    devices: Annotated[tuple[str, ...], Meta(description="All that have computed some of it.")]
    helpers: Annotated[list[str], Meta(description="Those that compute windows of it at present.")]
    dtype: str | None
    approximation: Annotated[str | None, Meta(description="What is computed otherwise than its authors do.")]
    attempt: int
    engine: str
    spoken: Annotated[bool, Meta(description="Whether the speech is that of the prompt.")]
    conversation: bool
    pinned: bool
    voice: str | None
    faces: int
    portrait: FramedPortrait
    crop: Annotated[Rect | None, Meta(description="The part of the portrait that frames are made of, once known.")]
    framing: AskedFraming
    warnings: list[advice.Advice]
    frames: int
    unsigned: Annotated[str | None, Meta(description="Why the clip has no Content Credentials.")]
    url: str
    thumbnail_url: str
    stream_url: str
    timings_ms: dict[str, int]


class Video(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="video"):
    """OpenAI's Video object, a job. Times are seconds since the epoch."""

    id: str
    model: Annotated[str, Meta(description="The engine.")]
    status: Status
    progress: Annotated[int, Meta(ge=0, le=100, description="100 only when completed.")]
    created_at: int
    completed_at: int | None
    expires_at: int | None
    size: Annotated[str, Meta(pattern="^[0-9]+x[0-9]+$", description="Of the clip.")]
    seconds: Annotated[str | None, Meta(description="Of speech; null until words are spoken.")]
    prompt: str | None
    metadata: dict[str, str]
    remixed_from_video_id: None
    error: JobFailure | None
    echod: VideoExtras


def video_object(job: Job, desk: Desk, addresses: Addresses) -> Video:
    width, height = job.size
    return Video(
        id=job.id,
        model=job.engine,
        status=job.status,
        progress=100 if job.status == "completed" else min(int(job.progress * 100), 99),
        created_at=int(job.created_at),
        completed_at=_whole(job.finished_at),
        expires_at=_whole(job.expires_at),
        size=f"{width}x{height}",
        seconds=f"{job.speech.seconds:.2f}" if job.speech else None,
        prompt=job.prompt,
        metadata=job.metadata,
        remixed_from_video_id=None,
        error=job.error,
        echod=_extras(job, desk, addresses),
    )


def _extras(job: Job, desk: Desk, addresses: Addresses) -> VideoExtras:
    options, portrait, path = job.options, job.portrait, f"/v1/videos/{job.id}"
    return VideoExtras(
        title=job.title,
        created_at=job.created_at,
        account=job.account,
        # 0 while its dispatch is being committed
        queue_position=(desk.queue.position(job.id) or 0) if job.status == "queued" else None,
        eta_s=_seconds_left(job, desk),
        stage=job.stage,
        windows_done=job.windows_done,
        windows_total=job.windows_total,
        windows_resumed=job.windows_resumed,
        view=options.view,
        seed=options.seed,
        fps=options.fps,
        steps=options.steps,
        guidance=options.guidance,
        lossless=options.lossless,
        live=options.live,
        label=options.label,
        label_language=options.label_language,
        device=job.device,
        devices=job.devices,
        helpers=desk.helpers(job.id),
        dtype=job.dtype,
        approximation=job.approximation,
        attempt=job.attempt,
        engine=job.engine,
        spoken=job.spoken,
        conversation=job.priority == CONVERSATION,
        pinned=job.pinned,
        voice=job.voice,
        faces=portrait.faces if job.faces is None else job.faces,
        portrait=FramedPortrait(width=portrait.width, height=portrait.height, box=job.box, boxes=portrait.boxes),
        crop=job.crop,
        framing=AskedFraming(crop=options.crop, dilation=options.dilation, face=options.face),
        warnings=advice.warnings(portrait, options),
        frames=job.frames,
        unsigned=job.unsigned,
        url=addresses(f"{path}/content"),
        thumbnail_url=addresses(f"{path}/content?variant=thumbnail"),
        stream_url=addresses(f"{path}/stream"),
        timings_ms=job.timings_ms,
    )


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


def _seconds_left(job: Job, desk: Desk) -> float | None:
    elapsed = desk.running_for(job.id)
    done, left = job.share - job.share_resumed, 1 - job.share
    if job.status != "in_progress" or elapsed is None or done <= ETA_FROM * (done + left):
        return None
    return round(elapsed * max(left, 0) / done, 1)
