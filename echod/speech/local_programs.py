"""Programs started for speech: with pipes, and with none of the daemon's keys in their environment."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping

from echod.children import started
from echod.speech.base import Failure

INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "CUDA_VISIBLE_DEVICES")


async def start(*command: str, environment: Mapping[str, str]) -> Process:
    """Start a program in a session of its own: a Ctrl-C in the daemon's terminal is the daemon's alone.

    It sees little of the daemon's environment, and `environment`. Failure: unavailable.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    try:
        return await started(
            asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, env={**inherited, **environment}, start_new_session=True
            )
        )
    except OSError as error:
        raise Failure("unavailable", f"{command[0]} does not start: {error.strerror}") from None
