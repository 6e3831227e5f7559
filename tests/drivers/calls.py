"""Calls to one scripted backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from echod.config import Settings
from echod.speech.backend import Function, Question
from echod.speech.calls import Calls
from echod.speech.plan import FUNCTIONS
from echod.speech.usage import Usage
from tests.making.config import make_config
from tests.stand_ins.backend import VOICE, Attempt, Scripted


class Bench:
    """Calls to one scripted backend, and the usage they leave."""

    def __init__(self, directory: Path, *attempts: Attempt, **settings: Any) -> None:
        self.backend = Scripted(*attempts)
        self.usage: list[Usage] = []
        quick = {"silence_timeout": "60s", "reply_timeout": "5s", "hear_timeout": "5s", "speak_timeout": "5s"}
        held = Settings(make_config(directory, **{**quick, **settings}))
        self.calls = Calls(held, {"scripted": self.backend}, dict.fromkeys(FUNCTIONS, "scripted"), self.usage.append)

    async def reply(self) -> list[str]:
        async with aclosing(self.calls.reply(Question(text="hi"), account="a")) as pieces:
            return [str(piece) async for piece in pieces]

    async def speak(self, text: str | AsyncIterator[str] = "words") -> bytes:
        async with aclosing(self.calls.speak(text, VOICE, account="a")) as pieces:
            return b"".join([piece async for piece in pieces])

    async def call(self, function: Function) -> object:
        match function:
            case "hear":
                return await self.calls.hear(b"\0" * 3200, account="a")  # a tenth of a second
            case "reply":
                return await self.reply()
            case "speak":
                return await self.speak()
