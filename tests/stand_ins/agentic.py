"""Somebody to try agents on: hears, answers, calls for the weather where that is asked for, and speaks for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from echod.speech.backend import Call, Question, Voice
from echod.speech.tools import CallPiece
from tests.stand_ins.backend import Scripted

HEARD = "What do you hear?"
STORY = "Once upon a time there was a very long story. " * 8
SOUND = bytes(range(1, 201)) * 240  # a second


class Agentic(Scripted):
    """Answers with what it was told; a story has no end of its own."""

    async def hear(self, sound: bytes, call: Call) -> str:
        return HEARD

    async def reply(self, turn: Question, call: Call) -> AsyncGenerator[str | CallPiece, None]:
        self.turns.append(turn)
        if turn.of_tools:
            yield f"The weather: {turn.history[-1].text}."
        elif "weather" in (turn.text or "").lower() and turn.tools:
            number = sum(len(message.calls) for message in turn.history) + 1
            yield CallPiece(0, name=turn.tools.tools[0].name, id=f"call_{number}")
            yield CallPiece(0, '{"place": "Paris"}')
        elif "story" in (turn.text or "").lower():
            yield STORY
            await asyncio.Event().wait()  # its end is its interruption
        else:
            yield f"You said: {turn.text}"

    async def speak(self, text: AsyncIterator[str], voice: Voice, call: Call) -> AsyncGenerator[bytes, None]:
        async for _ in text:
            yield SOUND
            yield SOUND
