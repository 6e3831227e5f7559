"""LiveKit's agents with OpenAI's realtime model, in default configuration: `python livekit_agent.py URL SPEECH.pcm`.

There is no room: sound goes in and out by a microphone and a loudspeaker of the script's. Tells what it could do.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai

AEC_WARMUP = 3.1  # seconds for which an agent that begins to speak hears nobody, by default 3
PIECE = 4800  # bytes: a tenth of a second


@function_tool
async def weather(place: str) -> str:
    """The weather somewhere."""
    return f"rain in {place}"


class Microphone(io.AudioInput):
    def __init__(self) -> None:
        super().__init__(label="microphone")
        self.sound: asyncio.Queue[bytes] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        sound = await self.sound.get()
        return rtc.AudioFrame(sound, 24_000, 1, len(sound) // 2)


class Loudspeaker(io.AudioOutput):
    """Plays what it gets in no time, unless it is `slow`: then until it is interrupted."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(label="loudspeaker", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=24_000)
        self.tell, self.seconds, self.slow = tell, 0.0, False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self.seconds:
            self.on_playback_started(created_at=time.time())
        self.seconds += frame.duration
        self.tell("sound")

    def flush(self) -> None:
        super().flush()
        if self.seconds and not self.slow:
            self.on_playback_finished(playback_position=self.seconds, interrupted=False)
            self.seconds = 0.0

    def clear_buffer(self) -> None:
        if self.seconds:
            self.on_playback_finished(playback_position=self.seconds / 2, interrupted=True)
            self.seconds = 0.0
            self.tell("cleared")


class Room:
    """In the place of one: a session, and what happened in it."""

    def __init__(self, session: AgentSession[Any], speech: bytes) -> None:
        self.session, self.speech = session, speech
        self.kinds: list[str] = []
        self.broken = ""
        self.more = asyncio.Event()
        session.output.audio = self.loudspeaker = Loudspeaker(self.tell)
        session.input.audio = self.microphone = Microphone()
        session.on("conversation_item_added", lambda event: self.tell("item"))
        session.on("error", self.fail)

    def fail(self, event: Any) -> None:
        if not getattr(event.error, "recoverable", False):
            self.broken = str(event.error)
            self.more.set()

    def tell(self, kind: str) -> None:
        self.kinds.append(kind)
        self.more.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            if self.broken:
                raise RuntimeError(self.broken)
            self.more.clear()
            await self.more.wait()

    def say(self) -> None:
        sound = self.speech + bytes(48_000)
        for start in range(0, len(sound), PIECE):
            self.microphone.sound.put_nowait(sound[start : start + PIECE])

    def history(self) -> str:
        return json.dumps([item.model_dump(mode="json") for item in self.session.history.items])


async def talk(room: Room, told: dict[str, bool]) -> None:
    await room.session.generate_reply(instructions="Greet.")
    await room.until(lambda: "You said: Greet." in room.history())
    await room.session.generate_reply(user_input="Hello.")
    await room.until(lambda: "You said: Hello." in room.history())
    told["text"] = "sound" in room.kinds
    room.say()
    await room.until(lambda: "You said: What do you hear?" in room.history())
    told["speech"] = True
    sounds, room.loudspeaker.slow = room.kinds.count("sound"), True
    room.session.generate_reply(user_input="Tell me a story.")
    await room.until(lambda: room.kinds.count("sound") > sounds)
    await asyncio.sleep(AEC_WARMUP)
    room.say()
    await room.until(lambda: "cleared" in room.kinds)
    room.loudspeaker.slow = False
    await room.until(lambda: room.history().count("You said: What do you hear?") == 2)
    told["interruption"] = True
    await room.session.generate_reply(user_input="How is the weather in Paris?")
    await room.until(lambda: "The weather: rain in Paris." in room.history())
    told["tools"] = True
    agent = room.session.current_agent
    edited = agent.chat_ctx.copy()
    edited.items = [item for item in edited.items if "Paris" not in item.model_dump_json()]
    await agent.update_chat_ctx(edited)
    told["history"] = "Paris" not in json.dumps([item.model_dump(mode="json") for item in agent.chat_ctx.items])


async def main() -> None:
    base, speech = sys.argv[1], Path(sys.argv[2]).read_bytes()
    model = openai.realtime.RealtimeModel(model="role:ada", base_url=base, api_key="none")
    told: dict[str, bool] = {}
    async with AgentSession[Any](llm=model) as session:
        room = Room(session, speech)
        await session.start(Agent(instructions="Be kind.", tools=[weather]), record=False)
        talking = asyncio.create_task(talk(room, told))
        done, _ = await asyncio.wait([talking], timeout=60)
        talking.cancel()
        if os.environ.get("SHOW"):
            print(room.history(), room.kinds[-20:])
        if done and (broken := talking.exception()):
            raise broken
    print(json.dumps(told))


asyncio.run(main())
