"""Pipecat's own pipeline with echod's video service in it: `python pipecat_avatar.py URL`.

Prints what came out of the service as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    InterruptionFrame,
    OutputImageRawFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_echod import EchodVideoService

RATE, PIECE = 16_000, 320  # samples: another rate than echod's


class Seen(FrameProcessor):
    """What comes out of the service."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Any] = []
        self.more = asyncio.Event()

    async def process_frame(self, frame: Any, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame | OutputImageRawFrame | TTSStoppedFrame | InterruptionFrame):
            self.frames.append(frame)
            self.more.set()
        await self.push_frame(frame, direction)

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), 60)

    def of(self, kind: type) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def seconds(self) -> float:
        return round(sum(frame.num_frames / frame.sample_rate for frame in self.of(TTSAudioRawFrame)), 3)


async def say(task: PipelineTask, seconds: float) -> None:
    for _ in range(round(seconds * RATE / PIECE)):
        await task.queue_frame(TTSAudioRawFrame(b"\1\2" * PIECE, RATE, 1))
    await task.queue_frame(TTSStoppedFrame())


async def talk(task: PipelineTask, seen: Seen, told: dict[str, Any]) -> None:
    await seen.until(lambda: bool(seen.frames))
    told["rests"] = [type(frame).__name__ for frame in seen.frames]
    seen.frames.clear()

    await say(task, 2.0)
    await seen.until(lambda: bool(seen.of(TTSStoppedFrame)))
    kinds = [type(frame) for frame in seen.frames]
    told["in step"] = kinds[:-2:2] == [TTSAudioRawFrame] * 48 and set(kinds[1:-2:2]) == {OutputImageRawFrame}
    told["said"] = [seen.seconds(), kinds[-2:] == [OutputImageRawFrame, TTSStoppedFrame]]

    seen.frames.clear()
    await say(task, 8.0)
    await seen.until(lambda: seen.seconds() > 0.2)
    await task.queue_frame(InterruptionFrame())
    await seen.until(lambda: bool(seen.of(InterruptionFrame)))
    seen.frames.clear()
    await say(task, 1.0)
    await task.queue_frame(EndFrame())
    await seen.until(lambda: bool(seen.of(TTSStoppedFrame)))
    told["after"] = [seen.seconds(), len(seen.of(TTSStoppedFrame))]


async def run(url: str, role: str, told: dict[str, Any] | None) -> str:
    """What went wrong, if anything did."""
    seen, broken = Seen(), []
    service = EchodVideoService(role=role, url=url, size="128x128")
    task = PipelineTask(Pipeline([service, seen]), params=PipelineParams(audio_out_sample_rate=RATE))

    @task.event_handler("on_pipeline_error")
    async def failed(_: PipelineTask, frame: ErrorFrame) -> None:
        broken.append(str(frame.error))

    async def act() -> None:
        if told is None:
            await say(task, 0.1)
            await task.queue_frame(EndFrame())
            await seen.until(lambda: bool(seen.of(TTSStoppedFrame)))
        else:
            await talk(task, seen, told)

    acting = asyncio.create_task(act())
    await PipelineRunner(handle_sigint=False).run(task)
    await acting
    return " ".join(broken)


async def main(url: str) -> None:
    told: dict[str, Any] = {}
    told["refused"] = await run(url, "nobody", None)
    told["broken"] = await run(url, "ada", told)
    print(json.dumps(told), flush=True)


logger.remove()
logger.add(sys.stderr, level="WARNING")
asyncio.run(main(sys.argv[1]))
os._exit(0)
