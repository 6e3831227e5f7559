"""One person in a conversation, by the stock client of the openai package."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any

from openai.resources.realtime.realtime import AsyncRealtimeConnection

HANG = 60.0  # seconds after which a test has failed


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def words_of(events: Iterable[Any]) -> str:
    return "".join(e.delta for e in events if e.type == "response.output_audio_transcript.delta")


def sound_of(events: Iterable[Any]) -> bytes:
    return b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")


class Talk:
    """Says things, and reads the events that follow: all of them are kept in `events`."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def until(self, kind: str, **fields: Any) -> Any:
        """The next event of this type with these fields."""
        async with asyncio.timeout(HANG):
            while True:
                event = await self.connection.recv()
                self.events.append(event)
                if event.type == kind and all(getattr(event, name) == value for name, value in fields.items()):
                    return event
                assert event.type != "error", event

    async def send(self, event: dict[str, Any]) -> None:
        await self.connection.send(event)  # type: ignore[arg-type]  # also what stock clients would not send

    async def update(self, **session: Any) -> None:
        await self.send({"type": "session.update", "session": {"type": "realtime", **session}})
        await self.until("session.updated")

    async def push_to_talk(self) -> None:
        """From now on nobody listens for the end of what is said."""
        await self.update(audio={"input": {"turn_detection": None}})

    async def ask(self, text: str) -> None:
        await self.connection.conversation.item.create(item=message(text))  # type: ignore[arg-type]
        await self.connection.response.create()

    async def append(self, sound: bytes, piece: int = 24_000) -> None:
        """Half a second at a time, as fast as it goes."""
        for start in range(0, len(sound), piece):
            await self.connection.input_audio_buffer.append(
                audio=base64.b64encode(sound[start : start + piece]).decode()
            )

    async def say(self, sound: bytes) -> None:
        await self.append(sound)
        await self.connection.input_audio_buffer.commit()
        await self.connection.response.create()

    async def done(self) -> Any:
        """The response, when it is done."""
        return (await self.until("response.done")).response

    async def answer(self, text: str) -> Any:
        await self.ask(text)
        return await self.done()

    async def refused(self, event: dict[str, Any]) -> Any:
        await self.send(event)
        return (await self.until("error")).error

    def words(self) -> str:
        return words_of(self.events)

    def sound(self) -> bytes:
        return sound_of(self.events)
