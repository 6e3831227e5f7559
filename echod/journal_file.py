"""The file of the journal, before a row of it is trusted: that it is there, and what to do where it cannot be used.

Clips, uploads and accounts are known to the journal alone. A start that made a new one beside what an earlier one knew
would delete the ones, and without the others let in whoever is local.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path

from echod.errors import ConfigurationError, EchodError
from echod.host import directories, strays

NAME = "echod.sqlite3"
FILES = ("", "-wal", "-shm")  # SQLite's, by what follows the journal's name; they belong together
HOLDINGS = ("jobs", "files")
KEY = "signing.key"  # made by the first start with a journal


def _text(*columns: str) -> str:
    return " AND ".join(f"typeof({column}) = 'text'" for column in columns)


def _number(*columns: str) -> str:
    return " AND ".join(f"typeof({column}) IN ('integer', 'real')" for column in columns)


MOMENT = "BETWEEN 0 AND 1e11"  # seconds since the epoch

# What holds of every row, in tables that have a column for everything.
SOUND = {
    "accounts": f"{_text('name', 'password')} AND created_at {MOMENT} AND role IN ('admin', 'user') "
    "AND leaving IN (0, 1)",
    "tokens": f"{_text('id', 'name', 'hash')} AND account IN (SELECT name FROM accounts) AND created_at {MOMENT} "
    f"AND ifnull(expires_at, 0) {MOMENT} AND ifnull(role, 'metrics') = 'metrics'",
    "sessions": f"{_text('hash')} AND account IN (SELECT name FROM accounts) AND expires_at {MOMENT}",
    "idempotency": f"{_text('account', 'key', 'fingerprint', 'job')} AND created_at {MOMENT}",
    "counters": f"{_text('name')} AND typeof(value) = 'integer' "
    "AND value BETWEEN 0 AND CASE name WHEN 'boot' THEN 1 << 30 ELSE 1 << 62 END",
    "usage": f"{_text('account', 'function', 'backend', 'model', 'outcome')} AND at {MOMENT} "
    f"AND {_number('input_tokens', 'output_tokens', 'characters', 'seconds')}",
    "webhooks": f"{_text('id', 'account', 'name', 'url', 'secret', 'events')} AND everybody IN (0, 1) "
    f"AND created_at {MOMENT}",
    "deliveries": f"{_text('id', 'webhook', 'job', 'type')} AND state IN ('waiting', 'delivered', 'failed') "
    f"AND typeof(attempts) = 'integer' AND created_at {MOMENT} AND since {MOMENT} AND due {MOMENT}",
}


def claim(path: Path) -> int:
    """Make the file if there is none, and have it to oneself wherever it may be moved; a descriptor.

    Close it after the database: closing any descriptor of a file gives up the locks that SQLite holds on it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise sqlite3.DatabaseError("it is no file")
        os.fchmod(descriptor, 0o600)  # there are hashes of passwords in it
        directories.lock(descriptor, f"the journal {path}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


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
    """Better no start than one whose promises rest on torn pages, or on an index that misses rows. DatabaseError."""
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def check_tables(db: sqlite3.Connection, schema: str) -> None:
    """That it has all that a fresh one has. sqlite3.DatabaseError."""
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(schema)
        lacking = sorted(_columns(fresh) - _columns(db))
    if lacking:  # its version is the number of another program
        raise sqlite3.DatabaseError(f"it is not of echod, it has no {lacking[0]}")


def _columns(db: sqlite3.Connection) -> set[str]:
    query = "SELECT t.name || '.' || c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table'"
    return {name for (name,) in db.execute(query)}


def check_rows(path: Path, db: sqlite3.Connection) -> None:
    """Now, when somebody is there to repair them, and not in the middle of a night's work. ConfigurationError."""
    for table, sound in SOUND.items():
        if row := db.execute(f"SELECT rowid FROM {table} WHERE NOT ({sound})").fetchone():
            raise damaged_row(path, table, row[0], "what it says cannot be")


def damaged_row(path: Path, table: str, row: int, why: str) -> ConfigurationError:
    """By its number: its name may be what is damaged."""
    repair = shlex.join(["sqlite3", str(path), f"DELETE FROM {table} WHERE rowid = {row}"])
    return ConfigurationError(
        f"{path}: row {row} of {table} is damaged: {why}. Restore the file from a copy, or give up this row and what "
        f"belongs to it: `{repair}`"
    )


def unusable(path: Path, error: OSError | sqlite3.Error) -> EchodError:
    """The error to raise for one that the file gave, once it is closed."""
    if is_full(error):
        return EchodError("disk_full", f"{path} cannot be used: {error}. Free some space.")
    if is_failed(error):  # nothing is wrong with what it holds
        return ConfigurationError(
            f"{path} cannot be used as the journal: {error}. Mend its disk or its permissions, end what else uses it, "
            "or name another directory with --state-dir"
        )
    # A -wal of another state of the file would be taken for a part of it.
    return ConfigurationError(
        f"{path} cannot be used as the journal: {error}. Put it back, or restore a copy of it and remove "
        f"{path.name}-wal and {path.name}-shm beside it, or name another directory with --state-dir. "
        "To start afresh, without any account, clip or upload, set all that belongs to it aside: "
        f"`{set_aside(path, (*(path.name + suffix for suffix in FILES), *HOLDINGS, KEY))}`"
    )


def set_aside(path: Path, names: Sequence[str]) -> str:
    """The command that does it to these, which lie beside the journal."""
    there = [str(path.with_name(name)) for name in names if path.with_name(name).exists()]
    aside = str(strays.free_name(path.with_name(strays.ASIDE)))
    return f"mkdir {shlex.quote(aside)} && mv {shlex.join([*there, aside])}"


def is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return directories.is_full(error)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def is_failed(error: OSError | sqlite3.Error) -> bool:
    """Whether it cannot be read or written at present: a disk that is read-only or damaged, another program."""
    if isinstance(error, OSError):
        return error.errno in directories.FAILED
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says what was being done
    return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY)
