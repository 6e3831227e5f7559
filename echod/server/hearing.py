"""What was said to a session and is not answered yet: its sound, and its words while they are being heard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from echod.errors import EchodError
from echod.history import Item
from echod.server.refusals import body
from echod.server.response import Send
from echod.speech.base import HEAR_RATE
from echod.speech.policy import Calls

BYTES_PER_SECOND = 2 * HEAR_RATE


class Hearing:
    """By item. Sound is kept for models that take it; what words it has is told as soon as it is known."""

    def __init__(self, calls: Calls, account: str, send: Send) -> None:
        self._calls = calls
        self._account = account
        self._send = send
        self._sounds: dict[str, bytes] = {}
        self._tasks: dict[str, asyncio.Task[str]] = {}
        self._running: set[asyncio.Task[str]] = set()

    def keep(self, item: Item, sound: bytes, seconds: float) -> None:
        """Keep the sound of an item, and of those before it what fits into so many seconds together."""
        self._sounds[item.id] = sound
        while len(self._sounds) > 1 and sum(map(len, self._sounds.values())) > seconds * BYTES_PER_SECOND:
            del self._sounds[next(iter(self._sounds))]

    def begin(self, item: Item, sound: bytes, language: str | None) -> None:
        """Find out what is said in an item."""
        task = self._tasks[item.id] = asyncio.create_task(self._hear(item, sound, language))
        self._running.add(task)
        task.add_done_callback(partial(self._heard, item, len(sound) / BYTES_PER_SECOND))

    async def _hear(self, item: Item, sound: bytes, language: str | None) -> str:
        item.text = await self._calls.hear(sound, account=self._account, language=language)
        return item.text

    def _heard(self, item: Item, seconds: float, task: asyncio.Task[str]) -> None:
        self._running.discard(task)
        told = {"item_id": item.id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        try:
            transcript = task.result()
        except (EchodError, asyncio.CancelledError) as error:
            known = error if isinstance(error, EchodError) else EchodError("cancelled", "nobody waits for it any more")
            self._send(f"{kind}.failed", **told, error=body(known)["error"])
        else:
            usage = {"type": "duration", "seconds": seconds}
            self._send(f"{kind}.completed", **told, transcript=transcript, usage=usage)

    def sound_of(self, items: Sequence[Item]) -> bytes:
        return b"".join(self._sounds[item.id] for item in items if item.id in self._sounds)

    def of(self, items: Sequence[Item]) -> list[asyncio.Task[str]]:
        """What is being heard of these, or was."""
        return [self._tasks[item.id] for item in items if item.id in self._tasks]

    def answered(self, items: Iterable[Item]) -> None:
        """Let go of what nobody asks for any more; what is being heard becomes part of the history."""
        for item in items:
            self._sounds.pop(item.id, None)
            if (task := self._tasks.get(item.id)) and task.done():
                del self._tasks[item.id]

    def forget(self, items: Iterable[Item]) -> None:
        """Do not go on to hear what nobody wants answered."""
        for item in items:
            self._sounds.pop(item.id, None)
            if task := self._tasks.pop(item.id, None):
                task.cancel()

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
