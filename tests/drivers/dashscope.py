"""Calls to the DashScope backend, and what its SDK was seen to send."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from echod.speech.backend import Call, Voice
from echod.speech.dashscope.backend import DashScope
from tests.making.speech import words
from tests.stand_ins.dashscope_server import KEY, Frame

CAPTURES = Path(__file__).parents[1] / "speech" / "captures"
VOICE = Voice("dashscope", "cosyvoice-v3-flash", "longanhuan")
CHAT = "/compatible-mode/v1/chat/completions"
TASKS = "/api-ws/v1/inference"


async def spoken(backend: DashScope, *text: str, model: str = VOICE.model) -> list[bytes]:
    voice = Voice("dashscope", model, VOICE.name)
    return [piece async for piece in backend.speak(words(*text), voice, Call(model=model))]


def captured(name: str) -> list[Any]:
    """Frames that the SDK was seen to send, ids, versions and sound left out."""
    frames: list[Any] = json.loads((CAPTURES / f"{name}.json").read_text())["frames"]
    return frames


def comparable(frames: list[Frame]) -> list[Any]:
    """Frames that a server received, in the form of `captured`. A socket's frames have no headers of their own."""
    kept = ("authorization", "user-agent", "x-dashscope-sdk-client", "x-dashscope-sdk-session-id", "content-type")
    shown = []
    for frame in frames:
        place = {"path": frame.path, "headers": {name: frame.headers[name] for name in kept if name in frame.headers}}
        body = {} if frame.body is None else {"body": frame.body}
        shown.append(body if frame.path == TASKS and body else {**place, **body})
    text = json.dumps(shown).replace(KEY, "<key>")
    for pattern, name in (
        (r"\b[0-9a-f]{32}\b", "<id>"),
        (r"\d+\.\d+\.\d+", "<version>"),
        (r"(?<=base64,)[^\"]+", "<sound>"),
    ):
        text = re.sub(pattern, name, text)
    found: list[Any] = json.loads(text)
    return found
