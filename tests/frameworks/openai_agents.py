"""OpenAI's Agents SDK in its default configuration: `python openai_agents.py WS_BASE_URL SPEECH.pcm`.

Tells what it could do.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner

PIECE = 4800  # bytes: a tenth of a second


@function_tool
def weather(place: str) -> str:
    """The weather somewhere."""
    return f"rain in {place}"


class Agent:
    """A session, and what happened in it."""

    def __init__(self, session: Any, speech: bytes) -> None:
        self.session, self.speech = session, speech
        self.kinds: list[str] = []
        self.more = asyncio.Event()

    async def listen(self) -> None:
        async for event in self.session:
            if event.type == "error":
                raise RuntimeError(event.error)
            self.kinds.append(event.type)
            self.more.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            self.more.clear()
            await self.more.wait()

    async def told(self, words: str, times: int = 1) -> None:
        """Until the history has these words, and the answer is over."""
        ends = self.kinds.count("agent_end")
        await self.until(lambda: self.history().count(words) >= times and self.kinds.count("agent_end") > ends)

    async def say(self) -> None:
        sound = self.speech + bytes(48_000)
        for start in range(0, len(sound), PIECE):
            await self.session.send_audio(sound[start : start + PIECE])

    def history(self) -> str:
        return json.dumps([item.model_dump() for item in self.session._history])


async def talk(agent: Agent, told: dict[str, bool]) -> None:
    await agent.session.send_message("Hello.")
    await agent.told("You said: Hello.")
    told["text"] = "audio" in agent.kinds
    await agent.say()
    await agent.told("You said: What do you hear?")
    told["speech"] = True
    audio = agent.kinds.count("audio")
    await agent.session.send_message("Tell me a story.")
    await agent.until(lambda: agent.kinds.count("audio") > audio)
    await agent.say()
    await agent.until(lambda: "audio_interrupted" in agent.kinds)
    await agent.told("You said: What do you hear?", 2)
    told["interruption"] = True
    await agent.session.send_message("How is the weather in Paris?")
    await agent.told("The weather: rain in Paris.")
    told["tools"] = "tool_end" in agent.kinds
    # It edits nothing by itself but what was heard: the story is cut to that.
    told["history"] = '"transcript": "Once' in agent.history() and "incomplete" in agent.history()


async def main() -> None:
    base, speech = sys.argv[1], Path(sys.argv[2]).read_bytes()
    set_tracing_disabled(True)
    runner = RealtimeRunner(RealtimeAgent(name="Ada", instructions="Be kind.", tools=[weather]))
    config: Any = {"api_key": "none", "url": f"{base}/realtime?model=role:ada"}
    told: dict[str, bool] = {}
    async with await runner.run(model_config=config) as session:
        agent = Agent(session, speech)
        tasks = [asyncio.create_task(each) for each in (agent.listen(), talk(agent, told))]
        await asyncio.wait(tasks, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and (broken := task.exception()):
                raise broken
            task.cancel()
    print(json.dumps(told), agent.history() if os.environ.get("SHOW") else "")


asyncio.run(main())
