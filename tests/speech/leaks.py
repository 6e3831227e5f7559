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
    async with asyncio.timeout(HANG):
        while _held() != before:  # noqa: ASYNC110  (asyncio's thread that waits for a process tells nobody of its end)
            await asyncio.sleep(0.01)


def _held() -> tuple[int, int, int, str]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    files = len(list(Path("/proc/self/fd").iterdir()))
    return files, threading.active_count(), len(asyncio.all_tasks()), children
