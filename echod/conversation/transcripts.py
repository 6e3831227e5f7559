"""What was said in a conversation and is not answered yet: its sound, and its words while they are being heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple, TypeAlias

from echod.conversation.history import Item
from echod.errors import EchodError
from echod.sound.pcm import HEAR_RATE
from echod.speech.calls import Calls

BYTES_PER_SECOND = 2 * HEAR_RATE

Tell: TypeAlias = Callable[[Item, float, str | EchodError], None]


def _nobody(item: Item, seconds: float, heard: str | EchodError) -> None:
    """Nobody is connected."""


class Unheard(NamedTuple):
    """What is to be heard."""

    item: Item
    sound: bytes
    language: str | None


class Transcripts:
    """By item. Sound is kept for models that take it, and until its words are known.

    Who is connected is told of each item: its seconds, and its words or why there are none. `at_work` is entered
    meanwhile.
    """

    def __init__(self, calls: Calls, account: str, at_work: Callable[[], AbstractContextManager[None]]) -> None:
        self._tell: Tell = _nobody
        self._calls = calls
        self._account = account
        self._at_work = at_work
        self._sounds: dict[str, bytes] = {}
        self._unheard: dict[str, Unheard] = {}
        self._tasks: dict[str, asyncio.Task[str]] = {}
        self._running: set[asyncio.Task[str]] = set()

    def keep(self, item: Item, sound: bytes, seconds: float) -> None:
        """Keep the sound of an item, and of those before it what fits into so many seconds together."""
        self._sounds[item.id] = sound
        while len(self._sounds) > 1 and sum(map(len, self._sounds.values())) > seconds * BYTES_PER_SECOND:
            del self._sounds[next(iter(self._sounds))]

    @property
    def kept(self) -> int:
        """Bytes of sound."""
        sounds = self._sounds | {id: said.sound for id, said in self._unheard.items()}
        return sum(map(len, sounds.values()))

    def begin(self, item: Item, sound: bytes, language: str | None) -> None:
        """Find out what is said in an item."""
        said = self._unheard[item.id] = Unheard(item, sound, language)
        task = self._tasks[item.id] = asyncio.create_task(self._hear(said))
        self._running.add(task)
        task.add_done_callback(partial(self._heard, said))

    async def _hear(self, said: Unheard) -> str:
        with self._at_work():
            said.item.text = await self._calls.hear(said.sound, account=self._account, language=said.language)
        return said.item.text

    def _heard(self, said: Unheard, task: asyncio.Task[str]) -> None:
        self._running.discard(task)
        heard: str | EchodError
        try:
            heard = task.result()
        except EchodError as error:
            heard = error
        except asyncio.CancelledError:
            heard = EchodError("cancelled", "nobody waits for it any more")
        else:
            self._unheard.pop(said.item.id, None)
        self._tell(said.item, len(said.sound) / BYTES_PER_SECOND, heard)

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
                self._unheard.pop(item.id, None)

    def forget(self, items: Iterable[Item]) -> None:
        """Do not go on to hear what nobody wants answered."""
        for item in items:
            self._sounds.pop(item.id, None)
            self._unheard.pop(item.id, None)
            if task := self._tasks.pop(item.id, None):
                task.cancel()

    def come(self, tell: Tell) -> None:
        """Somebody is connected, and told what is heard. What was not heard to its end before is heard again."""
        self._tell = tell
        for said in list(self._unheard.values()):
            if self._tasks[said.item.id].done():
                self.begin(*said)

    async def leave(self, tell: Tell) -> None:
        """They have left, if it is still they who are told: hear nothing any more, and keep what is not heard."""
        if self._tell == tell:
            self._tell = _nobody
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def forget_sounds(self) -> None:
        self._sounds.clear()
        self._unheard.clear()
