"""A turn as OpenAI Realtime's response: what happens in it, in the order that Realtime promises."""

from __future__ import annotations

import base64
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from echod.conversation.dialogue import Cause, Outcome
from echod.conversation.happening import ClipAdded, ClipDone, ClipProgressed, Happening, SoundDelta, TextDelta
from echod.conversation.history import Item
from echod.conversation.store import SessionSettings
from echod.conversation.turn import Turn
from echod.server.realtime.item_object import item_object
from echod.server.services import Addresses


class Send(Protocol):
    def __call__(self, type: str, **fields: Any) -> None: ...


@dataclass
class Response:
    """One response. `begin`, then `tell` whatever happens, then `end`.

    Its message is told of at once, unless there are tools: then it may be that nothing is said.
    """

    send: Send
    item: Item
    previous: str | None  # the id of the item before it
    settings: SessionSettings
    conversation: str
    addresses: Addresses
    metadata: Any
    id: str = field(default_factory=lambda: f"resp_{secrets.token_hex(12)}")
    _outputs: dict[str, tuple[Item, str | None]] = field(default_factory=dict)  # by id, with the one before it
    _clips: dict[str, int] = field(default_factory=dict)  # video id -> its number

    def begin(self) -> None:
        self.send("response.created", response=self._object())
        if not self.settings.tools:
            self._begin_message()

    def _begin_message(self) -> None:
        if self.item.id not in self._outputs:
            self._begin_item(self.item, self.previous)
            self._part("response.content_part.added", part=self._content(""))

    def begin_call(self, item: Item, previous: str | None) -> None:
        self._begin_item(item, self.previous if previous == self.item.id not in self._outputs else previous)

    def tell_call(self, item: Item, delta: str | None) -> None:
        told = {"item_id": item.id, "output_index": self._index(item), "call_id": item.call_id}
        if delta is not None:
            self.send("response.function_call_arguments.delta", response_id=self.id, **told, delta=delta)
        else:
            whole = {"name": item.name, "arguments": item.text}
            self.send("response.function_call_arguments.done", response_id=self.id, **told, **whole)
            self._end_item(item)

    def _begin_item(self, item: Item, previous: str | None) -> None:
        self._outputs[item.id] = item, previous
        shown = item_object(item)
        self.send("response.output_item.added", response_id=self.id, output_index=self._index(item), item=shown)
        self.send("conversation.item.added", previous_item_id=previous, item=shown)

    def _end_item(self, item: Item) -> None:
        shown, (_, previous) = item_object(item), self._outputs[item.id]
        self.send("response.output_item.done", response_id=self.id, output_index=self._index(item), item=shown)
        self.send("conversation.item.done", previous_item_id=previous, item=shown)

    def _index(self, item: Item) -> int:
        return list(self._outputs).index(item.id)

    def tell(self, happening: Happening) -> None:
        self._begin_message()
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
        if not self._outputs:
            self._begin_message()
        if self.item.id in self._outputs:
            self._end_message(turn.text + turn.apology)
        for item, _ in self._outputs.values():
            if item is not self.item and item.status == "incomplete":
                self._end_item(item)
        details: dict[str, Any] = {"type": outcome}
        if reason := "max_output_tokens" if outcome == "incomplete" else cause:  # OpenAI's word for a reply cut short
            details["reason"] = reason
        if turn.error is not None:
            details["error"] = turn.error.body()["error"]
        self.send("response.done", response={**self._object(outcome, details), "echod": asdict(turn.timings)})

    def _end_message(self, said: str) -> None:
        if self.settings.modality == "audio":
            self._part("response.output_audio.done")
        self._part(f"{self._words}.done", **{"text" if self.settings.modality == "text" else "transcript": said})
        self._part("response.content_part.done", part=self._content(said))
        self._end_item(self.item)

    @property
    def _words(self) -> str:
        return "response.output_text" if self.settings.modality == "text" else "response.output_audio_transcript"

    def _content(self, text: str) -> dict[str, str]:
        return (
            {"type": "text", "text": text}
            if self.settings.modality == "text"
            else {"type": "audio", "transcript": text}
        )

    def _part(self, type: str, **fields: Any) -> None:
        index = self._index(self.item)
        self.send(type, response_id=self.id, item_id=self.item.id, output_index=index, content_index=0, **fields)

    def _clip(self, what: str, video_id: str, **fields: Any) -> None:
        number = self._clips[video_id]
        self._part(f"response.output_video.{what}", video_id=video_id, index=number, **fields)

    def _object(self, status: str = "in_progress", details: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item_object(item) for item, _ in self._outputs.values()] if details else [],
            "conversation_id": self.conversation,
            "output_modalities": [self.settings.modality],
            "max_output_tokens": self.settings.max_tokens or "inf",
            "metadata": self.metadata,
            "usage": None,
        }
