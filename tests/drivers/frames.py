"""What a client of /v1/realtime has sent: recorded on its way into the daemon, and sent again by nobody in particular.

A recording is a list. ">" goes before a frame of the client's, "<" before the name of something that the daemon had
told by then. Ids that the daemon made are numbered in order, sound is how long it was loud and how long not, in ms.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection

from echod.server.realtime.session import Session
from echod.server.realtime.socket import Outbox

TOLD = {
    "session.created", "session.updated", "response.created", "response.done", "conversation.item.deleted",
    "conversation.item.truncated", "conversation.item.retrieved", "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped", "conversation.item.input_audio_transcription.completed",
    "response.function_call_arguments.done",
}  # fmt: skip
APPEND = "input_audio_buffer.append"
MS = 48  # bytes
PAUSE = 600  # ms: what is shorter belongs to the speech around it
LOUD = 1000  # of a sample
NUMBERED = re.compile(r'"<(item|response) \d+>"')
HANG = 30.0  # seconds


class Ids:
    """Of items and responses, in the order in which the daemon told of them."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.responses: list[str] = []
        self.sounding: set[str] = set()

    def note(self, event: dict[str, Any]) -> str | None:
        """What of it stands in a recording."""
        kind = str(event["type"])
        if kind == "conversation.item.added" and event["item"]["id"] not in self.items:
            self.items.append(event["item"]["id"])
        if kind == "response.created":
            self.responses.append(event["response"]["id"])
        if kind == "response.output_audio.delta" and event["response_id"] not in self.sounding:
            self.sounding.add(event["response_id"])
            return "sound"
        return kind if kind in TOLD else None

    def numbered(self, text: str) -> str:
        for name, known in (("item", self.items), ("response", self.responses)):
            for number, each in enumerate(known):
                text = text.replace(f'"{each}"', f'"<{name} {number}>"')
        return text

    def resolved(self, text: str) -> str | None:
        """With ids in the place of numbers; None while one is not told yet."""
        for name, known in (("item", self.items), ("response", self.responses)):
            for number, each in enumerate(known):
                text = text.replace(f'"<{name} {number}>"', f'"{each}"')
        return None if NUMBERED.search(text) else text


class Recorder:
    """Records every session while it lives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: list[Any] = []
        self.statuses: list[str] = []
        self.errors: list[str] = []
        self._ids, handle, send = Ids(), Session.handle, Outbox.send

        async def handled(session: Session, event: dict[str, Any]) -> None:
            self._come(event)
            await handle(session, event)

        def sent(outbox: Outbox, type: str, **fields: Any) -> None:
            if told := self._ids.note({"type": type, **fields}):
                self.entries.append(["<", told])
            if type == "response.done":
                self.statuses.append(fields["response"]["status"])
            if type == "error":
                self.errors.append(fields["error"]["code"])
            send(outbox, type, **fields)

        monkeypatch.setattr(Session, "handle", handled)
        monkeypatch.setattr(Outbox, "send", sent)

    def _come(self, event: dict[str, Any]) -> None:
        if event["type"] != APPEND:
            kept = {name: value for name, value in event.items() if name != "event_id"}
            self.entries.append([">", json.loads(self._ids.numbered(json.dumps(kept)))])
            return
        sound = np.frombuffer(base64.b64decode(event["audio"]), "<i2")
        loud = bool(len(sound) and abs(sound.astype(int)).max() > LOUD)
        mine = [entry for entry in self.entries if entry[0] == ">"]
        if not mine or mine[-1][1].get("type") != APPEND:
            self.entries.append([">", {"type": APPEND, "ms": []}])
            mine = self.entries
        lengths: list[list[Any]] = mine[-1][1]["ms"]
        if not lengths or lengths[-1][0] != loud:
            lengths.append([loud, 0])
        lengths[-1][1] += 2 * len(sound) // MS

    def recording(self) -> dict[str, Any]:
        for _, entry in self.entries:
            if isinstance(entry, dict) and entry["type"] == APPEND:
                entry["ms"] = _smoothed(entry["ms"])
        return {"statuses": self.statuses, "frames": self.entries}


def _smoothed(lengths: list[list[Any]]) -> list[list[Any]]:
    """Without the pauses of speech."""
    smooth: list[list[Any]] = []
    for number, (loud, ms) in enumerate(lengths):
        loud = loud or (ms < PAUSE and 0 < number < len(lengths) - 1)
        if smooth and smooth[-1][0] == loud:
            smooth[-1][1] += ms
        else:
            smooth.append([loud, ms])
    return smooth


class Replay:
    """Sends a recording again, and reads what comes of it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.told: Counter[str] = Counter()
        self.statuses: list[str] = []
        self.errors: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._ids, self._more = Ids(), asyncio.Event()

    async def send(self, frames: list[Any]) -> None:
        """All of it, each frame once the daemon has told what it had told before."""
        reading = asyncio.create_task(self._read())
        due: Counter[str] = Counter()
        async with asyncio.timeout(HANG):
            for side, what in frames:
                if side == "<":
                    due[what] += 1
                    while self.told[what] < due[what]:
                        await self._read_on()
                elif what["type"] == APPEND:
                    await self._append(what["ms"])
                else:
                    while (text := self._ids.resolved(json.dumps(what))) is None:
                        await self._read_on()
                    await self.connection.send(text)
        reading.cancel()

    async def _append(self, lengths: list[list[Any]]) -> None:
        for loud, ms in lengths:
            sound = (b"\x00\x10" if loud else b"\0\0") * (ms * MS // 2)
            for start in range(0, len(sound), 96_000):
                audio = base64.b64encode(sound[start : start + 96_000]).decode()
                await self.connection.send(json.dumps({"type": APPEND, "audio": audio}))

    async def _read_on(self) -> None:
        self._more.clear()
        await self._more.wait()

    async def _read(self) -> None:
        async for text in self.connection:
            event = json.loads(text)
            self.events.append(event)
            if told := self._ids.note(event):
                self.told[told] += 1
            if event["type"] == "response.done":
                self.statuses.append(event["response"]["status"])
            if event["type"] == "error":
                self.errors.append(event["error"]["code"])
            self._more.set()
