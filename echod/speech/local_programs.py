"""Programs started for speech: their pipes, their end, and none of the daemon's keys in their environment."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress

from echod.speech.base import Failure

INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "CUDA_VISIBLE_DEVICES")


async def start(*command: str, environment: Mapping[str, str]) -> Process:
    """Start a program in a session of its own: a Ctrl-C in the daemon's terminal is the daemon's alone.

    It sees little of the daemon's environment, and `environment`. Failure: unavailable.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env={**inherited, **environment}, start_new_session=True
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Not asyncio's to cancel: of a child that dies before its pipes are connected it may await the end for ever.
        await asyncio.wait([starting])
        if starting.exception() is None:
            await end(starting.result())
        raise
    except OSError as error:
        raise Failure("unavailable", f"{command[0]} does not start: {error.strerror}") from None


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
