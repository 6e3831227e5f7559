"""How a directory goes that has a row in the journal: its files, then the row, then the directory itself.

The files first: on a full disk the journal can forget nothing until there are free bytes. A removal that is cut short
leaves a row with an empty directory, and sweeps finish it. A row whose directory is missing is another matter: the disk
with it may not be mounted.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path


async def remove(directory: Path, forget: Callable[[], Awaitable[None]]) -> None:
    """`forget` removes the row. What it raises, such as disk_full, is for a later try: this one has freed the bytes."""
    await asyncio.to_thread(empty, directory)
    await forget()
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        for path in list(directory.iterdir()):
            with contextlib.suppress(OSError):  # gone meanwhile, or read-only: then a later start removes it
                path.unlink()


def is_cut_short(directory: Path) -> bool:
    try:
        return not any(directory.iterdir())
    except OSError:
        return False
