"""A turn as OpenAI Realtime's response: what happens in it, in the order that Realtime promises."""

from __future__ import annotations

import base64
import secrets
from dataclasses import asdict
from typing import Any, Literal, Protocol

from echod.conversation.dialogue import Cause, Outcome
from echod.conversation.history import Item
from echod.conversation.turn import (
    ClipAdded,
    ClipDone,
    ClipProgressed,
    Happening,
    Modality,
    SoundDelta,
    TextDelta,
    Timings,
)
from echod.errors import EchodError
from echod.server.realtime.item_object import item_object
from echod.server.services import Addresses


class Send(Protocol):
    def __call__(self, type: str, **fields: Any) -> None: ...


class Response:
    """One response. `begin`, then `tell` whatever happens, then `end`."""

    def __init__(
        self, send: Send, item: Item, modality: Modality, conversation: str, addresses: Addresses, metadata: Any = None
    ) -> None:
        self.id = f"resp_{secrets.token_hex(12)}"
        self.item = item
        self.modality = modality
        self.status: Outcome | Literal["in_progress"] = "in_progress"
        self._send = send
        self._conversation = conversation
        self._addresses = addresses
        self._metadata = metadata
        self._previous: str | None = None
        self._clips: dict[str, int] = {}  # video id -> its number

    def begin(self, previous: str | None) -> None:
        self._previous = previous
        self._send("response.created", response=self._object())
        item = item_object(self.item)
        self._send("response.output_item.added", response_id=self.id, output_index=0, item=item)
        self._send("conversation.item.added", previous_item_id=previous, item=item)
        self._part("response.content_part.added", part=self._content(""))

    def tell(self, happening: Happening) -> None:
        match happening:
            case TextDelta(delta=delta):
                self._part(f"{self._words}.delta", delta=delta)
            case SoundDelta(pcm=pcm):
                self._part("response.output_audio.delta", delta=base64.b64encode(pcm).decode())
            case ClipAdded(job=job, sentence=sentence):
                self._clips[job.id] = len(self._clips)
                self._clip(
                    "added", job.id, sentence=sentence, stream_url=self._addresses(f"/v1/videos/{job.id}/stream")
                )
            case ClipProgressed(job=job):
                self._clip("progress", job.id, progress=min(int(job.progress * 100), 99), stage=job.stage)
            case ClipDone(job=job):
                self._clip("done", job.id, url=self._addresses(f"/v1/videos/{job.id}/content"))

    def end(
        self, outcome: Outcome, text: str, timings: Timings, error: EchodError | None = None, cause: Cause | None = None
    ) -> None:
        """`text` is the whole transcript; the item may remember less of it."""
        self.status = outcome
        if self.modality == "audio":
            self._part("response.output_audio.done")
        self._part(f"{self._words}.done", **{"text" if self.modality == "text" else "transcript": text})
        self._part("response.content_part.done", part=self._content(text))
        item = item_object(self.item)
        self._send("response.output_item.done", response_id=self.id, output_index=0, item=item)
        self._send("conversation.item.done", previous_item_id=self._previous, item=item)
        self._send("response.done", response={**self._object(error, cause), "echod": asdict(timings)})

    @property
    def _words(self) -> str:
        return "response.output_text" if self.modality == "text" else "response.output_audio_transcript"

    def _content(self, text: str) -> dict[str, str]:
        return {"type": "text", "text": text} if self.modality == "text" else {"type": "audio", "transcript": text}

    def _part(self, type: str, **fields: Any) -> None:
        self._send(type, response_id=self.id, item_id=self.item.id, output_index=0, content_index=0, **fields)

    def _clip(self, what: str, video_id: str, **fields: Any) -> None:
        number = self._clips[video_id]
        self._part(f"response.output_video.{what}", video_id=video_id, index=number, **fields)

    def _object(self, error: EchodError | None = None, cause: Cause | None = None) -> dict[str, Any]:
        details: dict[str, Any] | None = None
        if self.status != "in_progress":
            details = {"type": self.status}
        if cause is not None and details is not None:
            details["reason"] = cause
        if error is not None and details is not None:
            details["error"] = error.body()["error"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": details,
            "output": [] if self.status == "in_progress" else [item_object(self.item)],
            "conversation_id": self._conversation,
            "output_modalities": [self.modality],
            "metadata": self._metadata,
            "usage": None,
        }
