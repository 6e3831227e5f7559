"""A turn as OpenAI Realtime's response: what happens in it, in the order that Realtime promises."""

from __future__ import annotations

import base64
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

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
    Turn,
)
from echod.server.realtime.item_object import item_object
from echod.server.services import Addresses


class Send(Protocol):
    def __call__(self, type: str, **fields: Any) -> None: ...


@dataclass
class Response:
    """One response. `begin`, then `tell` whatever happens, then `end`."""

    send: Send
    item: Item
    previous: str | None  # the id of the item before it
    modality: Modality
    conversation: str
    addresses: Addresses
    metadata: Any
    id: str = field(default_factory=lambda: f"resp_{secrets.token_hex(12)}")
    _clips: dict[str, int] = field(default_factory=dict)  # video id -> its number

    def begin(self) -> None:
        self.send("response.created", response=self._object())
        item = item_object(self.item)
        self.send("response.output_item.added", response_id=self.id, output_index=0, item=item)
        self.send("conversation.item.added", previous_item_id=self.previous, item=item)
        self._part("response.content_part.added", part=self._content(""))

    def tell(self, happening: Happening) -> None:
        match happening:
            case TextDelta(delta=delta):
                self._part(f"{self._words}.delta", delta=delta)
            case SoundDelta(pcm=pcm):
                self._part("response.output_audio.delta", delta=base64.b64encode(pcm).decode())
            case ClipAdded(job=job, sentence=sentence):
                self._clips[job.id] = len(self._clips)
                self._clip("added", job.id, sentence=sentence, stream_url=self.addresses(f"/v1/videos/{job.id}/stream"))
            case ClipProgressed(job=job):
                self._clip("progress", job.id, progress=min(int(job.progress * 100), 99), stage=job.stage)
            case ClipDone(job=job):
                self._clip("done", job.id, url=self.addresses(f"/v1/videos/{job.id}/content"))

    def end(self, turn: Turn, outcome: Outcome, cause: Cause | None) -> None:
        """The turn has all that was said; the item may remember less of it, and no apology."""
        said = turn.text + turn.apology
        if self.modality == "audio":
            self._part("response.output_audio.done")
        self._part(f"{self._words}.done", **{"text" if self.modality == "text" else "transcript": said})
        self._part("response.content_part.done", part=self._content(said))
        item = item_object(self.item)
        self.send("response.output_item.done", response_id=self.id, output_index=0, item=item)
        self.send("conversation.item.done", previous_item_id=self.previous, item=item)
        details: dict[str, Any] = {"type": outcome}
        if reason := "max_output_tokens" if outcome == "incomplete" else cause:  # OpenAI's word for a reply cut short
            details["reason"] = reason
        if turn.error is not None:
            details["error"] = turn.error.body()["error"]
        self.send("response.done", response={**self._object(outcome, details), "echod": asdict(turn.timings)})

    @property
    def _words(self) -> str:
        return "response.output_text" if self.modality == "text" else "response.output_audio_transcript"

    def _content(self, text: str) -> dict[str, str]:
        return {"type": "text", "text": text} if self.modality == "text" else {"type": "audio", "transcript": text}

    def _part(self, type: str, **fields: Any) -> None:
        self.send(type, response_id=self.id, item_id=self.item.id, output_index=0, content_index=0, **fields)

    def _clip(self, what: str, video_id: str, **fields: Any) -> None:
        number = self._clips[video_id]
        self._part(f"response.output_video.{what}", video_id=video_id, index=number, **fields)

    def _object(self, status: str = "in_progress", details: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item_object(self.item)] if details else [],
            "conversation_id": self.conversation,
            "output_modalities": [self.modality],
            "metadata": self.metadata,
            "usage": None,
        }
