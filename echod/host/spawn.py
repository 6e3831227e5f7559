"""Child programs of the daemon's event loop: started and ended whole, whoever cancels in between."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


async def started(creation: Coroutine[Any, Any, Process]) -> Process:
    """The process that asyncio creates, with pipes; cancelled, it is created all the same and ended.

    To cancel asyncio's own call is no help: of a child that dies before its pipes are connected it may await the end
    for ever.
    """
    creating = asyncio.create_task(creation)
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        await asyncio.wait([creating])
        if creating.exception() is None:
            await end(creating.result())
        raise


async def end(process: Process) -> None:
    """Kill it, if it has not ended, and wait until nothing is left of it."""
    kill(process)
    assert process.stdin
    process.stdin.close()
    await process.communicate()  # and not wait(): its pipe stays open while there is something in it


def kill(process: Process) -> None:
    """End it, if it has not ended. (`Process.kill` may reap it, and then asyncio's watcher complains.)"""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
