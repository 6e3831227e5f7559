"""A program that is slow to start, started before there is a text for it: it has loaded its voice, and waits."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process

from echod.host import spawn
from echod.speech.local.programs import ENVIRONMENT, start

IDLE = 1800.0  # seconds after which nobody is expected to speak with that voice soon


class Ahead:
    """At most one such program, for the voice that spoke last. It ends with the daemon, whose pipe it reads."""

    def __init__(self) -> None:
        self._command: tuple[str, ...] = ()
        self._coming: asyncio.Task[Process] | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, command: tuple[str, ...]) -> None:
        """Have one ready for the next text."""
        if self._closed or (self._coming is not None and self._command == command):
            return
        self._drop()
        self._command = command
        self._coming = asyncio.create_task(start(*command, environment=ENVIRONMENT))
        self._resting = asyncio.get_running_loop().call_later(IDLE, self._drop)

    async def take(self, command: tuple[str, ...]) -> Process:
        """The one that waits, or a new one. Failure: unavailable."""
        if self._coming is not None and self._command == command:
            coming, self._coming = self._coming, None
            process = await coming
            if process.returncode is None:
                return process
            await spawn.end(process)  # it died while it waited
        return await start(*command, environment=ENVIRONMENT)

    async def close(self) -> None:
        self._closed = True
        self._drop()
        await asyncio.gather(*self._ending)

    def _drop(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        if self._coming is not None:
            ending = asyncio.create_task(_end(self._coming))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        self._coming = None


async def _end(coming: asyncio.Task[Process]) -> None:
    await asyncio.wait([coming])
    if coming.exception() is None:
        await spawn.end(coming.result())
