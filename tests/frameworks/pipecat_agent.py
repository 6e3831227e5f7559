"""Pipecat's realtime service in its default configuration: `python pipecat_agent.py WS_BASE_URL SPEECH.pcm`.

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

from loguru import logger
from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMMessagesAppendFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService

PIECE = 4800  # bytes: a tenth of a second
WEATHER = FunctionSchema("weather", "The weather somewhere.", {"place": {"type": "string"}}, ["place"])


class Ears(FrameProcessor):
    """What comes out of the service."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[str] = []
        self.broken = ""
        self.more = asyncio.Event()

    async def process_frame(self, frame: Any, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(type(frame).__name__)
        if isinstance(frame, ErrorFrame):
            self.broken = str(frame.error)
        self.more.set()
        await self.push_frame(frame, direction)

    def count(self, kind: type) -> int:
        return self.frames.count(kind.__name__)

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            if self.broken:
                raise RuntimeError(self.broken)
            self.more.clear()
            await self.more.wait()


async def talk(
    task: PipelineTask, llm: Any, ears: Ears, context: LLMContext, speech: bytes, told: dict[str, bool]
) -> None:
    def written() -> str:
        return json.dumps(context.get_messages(), default=str)

    async def say() -> None:
        sound = speech + bytes(48_000)
        for start in range(0, len(sound), PIECE):
            await task.queue_frame(InputAudioRawFrame(sound[start : start + PIECE], 24_000, 1))

    async def write(words: str) -> None:
        await llm.queue_frame(LLMMessagesAppendFrame([{"role": "user", "content": words}], run_llm=True))

    await task.queue_frame(LLMRunFrame())
    await ears.until(lambda: "You said: Hello." in written())
    told["text"] = ears.count(TTSAudioRawFrame) > 0
    await say()
    await ears.until(lambda: "You said: What do you hear?" in written())
    told["speech"] = True
    before = ears.count(TTSAudioRawFrame)
    await write("Tell me a story.")
    await ears.until(lambda: ears.count(TTSAudioRawFrame) > before)
    interruptions = ears.count(InterruptionFrame)
    await say()
    await ears.until(lambda: ears.count(InterruptionFrame) > interruptions)
    await ears.until(lambda: written().count("You said: What do you hear?") == 2)
    told["interruption"] = True
    await write("How is the weather in Paris?")
    await ears.until(lambda: "The weather:" in written() and "rain in Paris" in written())
    told["tools"] = True
    told["history"] = "Once upon" in written()  # the answer that was interrupted, as far as it was heard


async def main() -> None:
    base, speech = sys.argv[1], Path(sys.argv[2]).read_bytes()
    logger.remove()
    logger.add(sys.stderr, level=os.environ.get("LEVEL", "ERROR"))
    llm = OpenAIRealtimeLLMService(
        api_key="none",
        base_url=f"{base}/realtime",
        settings=OpenAIRealtimeLLMService.Settings(model="role:ada", system_instruction="Be kind."),
    )

    async def weather(params: FunctionCallParams) -> None:
        await params.result_callback(f"rain in {params.arguments['place']}")

    llm.register_function("weather", weather)
    context = LLMContext([{"role": "user", "content": "Hello."}], ToolsSchema([WEATHER]))
    pair, ears, told = LLMContextAggregatorPair(context), Ears(), dict[str, bool]()
    task = PipelineTask(Pipeline([pair.user(), llm, ears, pair.assistant()]))
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    talking = asyncio.create_task(talk(task, llm, ears, context, speech, told))
    done, _ = await asyncio.wait([running, talking], timeout=60, return_when=asyncio.FIRST_COMPLETED)
    talking.cancel()
    if os.environ.get("SHOW"):
        print(json.dumps(context.get_messages(), default=str), ears.frames[-30:])
    if talking in done and (broken := talking.exception()):
        raise broken
    print(json.dumps(told), flush=True)
    await task.queue_frame(EndFrame())
    await asyncio.wait([running], timeout=5)


asyncio.run(main())
