"""Programs started for speech: with pipes, and with none of the daemon's keys in their environment.

One that speaks is given text by lines as it comes, and its sound comes out meanwhile. Commands are made of what is
found here, and of nothing that clients say.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

from echod.host import spawn
from echod.sound.resample import Resampler
from echod.speech.backend import Failure
from echod.speech.sentences import lines

READ = 16 * 1024  # bytes; three times as many come out where they are at 8 kHz, the lowest rate
ENVIRONMENT = {"PYTHONIOENCODING": "utf-8"}
WAV_HEADER, WAV_RATE = 44, slice(24, 28)  # espeak-ng always writes the short one; the sizes in it mean nothing


async def start(*command: str, environment: Mapping[str, str]) -> Process:
    """`spawn.start`. Failure: unavailable."""
    try:
        return await spawn.start(*command, environment=environment)
    except OSError as error:
        raise Failure("unavailable", f"{command[0]} does not start: {error.strerror}") from None


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Process]:
    """A process that is gone afterwards, whatever happens."""
    process = await start(*command, environment=ENVIRONMENT)
    try:
        yield process
    finally:
        await spawn.end(process)


async def speak(text: AsyncIterator[str], process: Process, rate: int | None, name: str) -> AsyncGenerator[bytes, None]:
    """pcm16, mono, SPEAK_RATE, from a program that has been started. Failure: unavailable, which calls it by `name`."""
    try:
        feeding = asyncio.create_task(_feed(process, text))
        try:
            async for piece in _sound(process, rate):
                yield piece
            if status := await process.wait():
                raise Failure("unavailable", f"{name} ended with status {status}; the log may tell why")
            await feeding
        except ConnectionError:
            raise Failure("unavailable", f"{name} ended before its text did") from None
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
    finally:
        await spawn.end(process)


async def _feed(process: Process, text: AsyncIterator[str]) -> None:
    """A line for each sentence. espeak-ng breaks lines of 1000 bytes; a sentence has 800 at most."""
    assert process.stdin
    try:
        async with aclosing(lines(text)) as sentences:
            async for line in sentences:
                process.stdin.write(line.encode() + b"\n")
                await process.stdin.drain()
    finally:
        process.stdin.close()


async def _sound(process: Process, rate: int | None) -> AsyncGenerator[bytes, None]:
    assert process.stdout
    if rate is None:
        try:
            header = await process.stdout.readexactly(WAV_HEADER)
        except asyncio.IncompleteReadError:  # nothing was said
            return
        rate = int.from_bytes(header[WAV_RATE], "little")
    resampler = Resampler(rate)
    while sound := await process.stdout.read(READ):
        if piece := resampler.feed(sound):
            yield piece
    if piece := resampler.flush():
        yield piece
