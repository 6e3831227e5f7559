"""One synthesis as DashScope's WebSocket does it, or fails to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from websockets.asyncio.server import ServerConnection

from tests.stand_ins.dashscope_answers import REFUSALS, Refusal, at_first, parroted, sound_of

VOICES = ("longanyang", "longanhuan")
NO_SUCH_VOICE = Refusal(400, "InvalidParameter", "[tts:]Engine return error code: 418")
FRAME = 3200  # bytes of sound


class Task:
    """A task on a connection. The model's name says what goes wrong, after `@`."""

    def __init__(self, connection: ServerConnection, log: Callable[[Any], None], asked: Counter[str]) -> None:
        self.connection = connection
        self.log = log
        self.asked = asked
        self.failure = ""
        self.id = ""
        self.characters = 0
        self.broken = False

    async def run(self) -> None:
        async for message in self.connection:
            frame = json.loads(message)
            self.log(frame)
            payload = frame["payload"]
            match frame["header"]["action"]:
                case "run-task":
                    self.id = frame["header"]["task_id"]
                    self.asked[payload["model"]] += 1
                    self.failure = at_first(payload["model"].partition("@")[2], self.asked[payload["model"]])
                    await self.start(payload["parameters"]["voice"])
                case "continue-task" if not self.broken:
                    await self.speak(payload["input"]["text"])
                case "finish-task" if not self.broken or "directive" in payload["input"]:
                    await self.finish()

    async def start(self, voice: str) -> None:
        match self.failure:
            case "nostart":
                self.broken = True
            case "deaf":
                await self.send("task-started")
                self.connection.transport.pause_reading()
            case name if name.startswith("startclose"):
                await self.connection.close(int(name.removeprefix("startclose") or 1011), "internal error")
            case "startabort":
                self.connection.transport.abort()
            case "startbinary":
                await self.connection.send(b"\0\0")
            case "startforeign":
                self.id = "another"
                await self.send("task-started")
            case "startgarbage":
                await self.connection.send("{not what you think")
            case "startlist":
                await self.connection.send("[]")
            case name if name in REFUSALS:
                await self.fail(REFUSALS[name])
            case _ if voice not in VOICES:
                await self.fail(NO_SUCH_VOICE)
            case _:
                await self.send("task-started")

    async def speak(self, text: str) -> None:
        if self.failure == "parrot":
            self.broken = True
            return await self.fail(parroted(text))
        await self.send("result-generated", output={"type": "sentence-begin", "original_text": text})
        self.characters += sum(1 if letter.isascii() else 2 for letter in text)
        sound = sound_of(text)
        size = 1001 if self.failure == "odd" else FRAME
        for start in range(0, 0 if self.failure == "mute" else len(sound), size):
            await self.send("result-generated", output={"type": "sentence-synthesis"})
            await self.connection.send(sound[start : start + size])
            await self.fall(text)
            if self.broken:
                return None
        usage = {"characters": self.characters}
        await self.send("result-generated", output={"type": "sentence-end"}, usage=usage)
        return None

    async def fall(self, text: str) -> None:
        """What goes wrong in the midst of sound."""
        self.broken = True
        match self.failure:
            case "midfail":
                await self.fail(REFUSALS["500"])
            case "echo":
                await self.fail(Refusal(400, "InvalidParameter", f"This cannot be said: {text}"))
            case "midclose":
                await self.connection.close(1011, "internal error")
            case "midabort":
                self.connection.transport.abort()
            case "midgarbage":
                await self.connection.send("{not what you think")
            case "midforeign":
                self.id = "another"
                await self.send("result-generated")
            case "midfinish":
                await self.send("task-finished")
            case "huge":
                await self.connection.send(bytes(2**20 + 2))
            case "stall":
                pass
            case _:
                self.broken = False

    async def finish(self) -> None:
        match self.failure:
            case "nofinish":
                return
            case "finishclose":
                await self.connection.close()
            case "half":
                await self.connection.send(b"\0")
        await self.send("task-finished", output={}, usage={"characters": self.characters})

    async def fail(self, refusal: Refusal) -> None:
        await self.send("task-failed", {"error_code": refusal.code, "error_message": refusal.message})
        await self.connection.close()

    async def send(self, event: str, error: Mapping[str, str] | None = None, **payload: Any) -> None:
        header = {"task_id": self.id, "event": event, "attributes": {}, **(error or {})}
        await self.connection.send(json.dumps({"header": header, "payload": payload}))
