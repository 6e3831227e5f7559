"""How a directory goes that has a row in the journal: its files, then the row, then the directory itself.

The files first: on a full disk the journal can forget nothing until there are free bytes. A removal that is cut short
leaves a row with an empty directory, and sweeps finish it. A row whose directory is missing is another matter: the disk
with it may not be mounted.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from echod.errors import EchodError
from echod.host.directories import storage_code


async def remove(directory: Path, forget: Callable[[], Awaitable[None]]) -> None:
    """`forget` removes the row. What it raises, such as disk_full, is for a later try: this one has freed the bytes.

    EchodError disk_failed or internal where files cannot be removed; the row stays.
    """
    if failure := await asyncio.to_thread(empty, directory):
        raise EchodError(storage_code(failure), f"{directory} cannot be removed: {failure.strerror}") from failure
    await forget()
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def empty(directory: Path) -> OSError | None:
    """Why something in it stays, if something does."""
    failure = None
    try:
        for path in list(directory.iterdir()):
            try:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            except FileNotFoundError:
                pass  # gone meanwhile
            except OSError as error:
                failure = error
    except (FileNotFoundError, NotADirectoryError):
        pass  # there is nothing in it
    except OSError as error:
        return error
    return failure


def is_cut_short(directory: Path) -> bool:
    try:
        return not any(directory.iterdir())
    except OSError:
        return False
