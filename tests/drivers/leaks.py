"""What a call could leave behind in this process, counted before and after."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

HANG = 60  # seconds


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Afterwards files and sockets, threads, tasks and child processes are what they were."""
    before = _held()
    yield
    try:
        async with asyncio.timeout(HANG):
            while _held() != before:  # noqa: ASYNC110  (asyncio learns of a process's end from a thread, we from nobody)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"before there was {before}, now there is {_held()}") from None


def _held() -> dict[str, object]:
    # One of asyncio's threads waits for each child, and may outlive it for a moment; children are counted themselves.
    threads = [thread.name for thread in threading.enumerate() if "waitpid" not in thread.name]
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": sorted(threads),
        "tasks": len(asyncio.all_tasks()),
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
    }
