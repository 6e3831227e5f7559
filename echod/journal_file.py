"""The file of the journal, before a row of it is trusted: that it is there, and what to do where it cannot be used.

Clips, uploads and accounts are known to the journal alone. A start that made a new one beside what an earlier one knew
would delete the ones, and without the others let in whoever is local.
"""

from __future__ import annotations

import errno
import shlex
import sqlite3
from pathlib import Path

from echod import strays
from echod.errors import ConfigurationError, EchodError

FILES = ("", "-wal", "-shm")  # SQLite's, by what follows the journal's name; they belong together
HOLDINGS = ("jobs", "files")
KEY = "signing.key"  # made by the first start with a journal


def check_not_lost(path: Path, *beside: str) -> None:
    """Of a journal that knows nothing: sqlite3.DatabaseError where an earlier one has left something.

    `beside` names files that would not be there if this one were the first.
    """
    holdings = {name: sum(map(strays.is_forgotten, strays.directories(path.parent / name))) for name in HOLDINGS}
    left = [f"{count} {name}" for name, count in holdings.items() if count]
    left += [name for name in beside if path.with_name(name).exists()]
    if left:
        raise sqlite3.DatabaseError(f"it is missing or empty, but an earlier one has left {', '.join(left)}")


def check_pages(db: sqlite3.Connection) -> None:
    """Better no start than one whose promises rest on torn pages. sqlite3.DatabaseError."""
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def unusable(path: Path, error: OSError | sqlite3.Error) -> EchodError:
    """The error to raise for one that the file gave, once it is closed."""
    if is_full(error):
        return EchodError("disk_full", f"{path} cannot be used: {error}. Free some space.")
    # A -wal of another state of the file would be taken for a part of it.
    return ConfigurationError(
        f"{path} cannot be used as the journal: {error}. Put it back, or restore a copy of it and remove "
        f"{path.name}-wal and {path.name}-shm beside it, or name another directory with --state-dir. "
        "To start afresh, without any account, clip or upload, set all that belongs to it aside: "
        f"`{_set_aside(path)}`"
    )


def _set_aside(path: Path) -> str:
    """The command for it."""
    names = (*(path.name + suffix for suffix in FILES), *HOLDINGS, KEY)
    there = [str(path.with_name(name)) for name in names if path.with_name(name).exists()]
    aside = str(strays.free_name(path.with_name(strays.ASIDE)))
    return f"mkdir {shlex.quote(aside)} && mv {shlex.join([*there, aside])}"


def is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
