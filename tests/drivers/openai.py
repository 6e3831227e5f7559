"""Calls to the OpenAI-compatible backend."""

from __future__ import annotations

from echod.speech.backend import Call, Function, Question, Voice
from echod.speech.openai.backend import OpenAI
from tests.making.speech import SECOND, words
from tests.stand_ins.dashscope_answers import words_in

HANG = 30.0  # seconds after which a test has failed
TEXT = "Nobody else is to read this."


async def use(backend: OpenAI, function: Function, failure: str = "") -> str:
    """Call the function, and say what it gave."""
    call = Call(model=f"model@{failure}")
    match function:
        case "hear":
            return await backend.hear(SECOND, call)
        case "reply":
            return "".join([str(piece) async for piece in backend.reply(Question(text=TEXT), call)])
        case "speak":
            voice = Voice("openai", call.model, "alloy")
            return words_in(b"".join([piece async for piece in backend.speak(words(TEXT), voice, call)]))
