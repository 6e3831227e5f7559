"""Child programs of the daemon's event loop: started and ended whole, whoever cancels in between."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "CUDA_VISIBLE_DEVICES")


async def start(*command: str, environment: Mapping[str, str]) -> Process:
    """Start a program in a session of its own: a Ctrl-C in the daemon's terminal is the daemon's alone.

    It has pipes, and sees little of the daemon's environment, none of its keys, and `environment`. OSError: it cannot.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return await _started(
        asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env={**inherited, **environment}, start_new_session=True
        )
    )


async def _started(creation: Coroutine[Any, Any, Process]) -> Process:
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
