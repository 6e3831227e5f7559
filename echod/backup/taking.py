"""A copy of the state directory, taken while the daemon runs or while it does not, and put back where there is none.

The journal comes first, as SQLite copies it: the state of one moment. Then what it names is copied, which nothing
changes once it is published: linked where the file system can, which takes no room. What the daemon has removed
meanwhile leaves the copy of the journal too. `backup.json` is written last: a directory without it is half a backup.

Neither settings nor weights nor caches are in it, nor what attempts have computed so far: a clip that was being made is
made from the beginning.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from echod import __version__, journal_file
from echod.backup.record import KEYS, RECORD, TREES, Record, copy_tree, remove
from echod.errors import ConfigurationError
from echod.host import directories, strays
from echod.host.removal import is_cut_short
from echod.jobs import folder
from echod.jobs.job import TERMINAL
from echod.journal import SCHEMA_VERSION
from echod.roles import folder as roles

UPLOAD = "upload"
LOOKS = 5  # at roles that somebody is changing


class Row(msgspec.Struct, frozen=True):
    """A job or an upload as the journal knows it, by its directory: `jobs/<id>`, `files/<id>`."""

    holding: str
    id: str
    status: str = ""

    @property
    def place(self) -> str:
        return f"{self.holding}/{self.id}"

    def wants(self, name: str) -> bool:
        """Whether the file is a part of it. A job that has not ended needs what an attempt begins with."""
        if self.holding == "files":
            return True
        if self.status == "completed":
            return not (name.endswith(".part") or name.startswith("stream.") or name == folder.BOARD)
        return name in folder.INPUTS or (name == folder.BEFORE and self.status not in TERMINAL)

    @property
    def essential(self) -> str:
        """The file without which there is nothing to copy."""
        if self.holding == "files":
            return UPLOAD
        return "clip.mp4" if self.status == "completed" else folder.PORTRAIT


def back_up(state: Path, target: Path) -> Record:
    """Copy what lies in `state` to a new or empty directory. ConfigurationError, OSError."""
    journal = state / journal_file.NAME
    if not journal.is_file():
        raise ConfigurationError(f"there is no journal in {state}; name the state directory with --state-dir")
    _check_target(state, target)
    record = Record(echod=__version__, schema=0, taken_at=datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        _copy_state(state, target, record)
    except BaseException as error:
        for path in target.iterdir():
            remove(path)
        if isinstance(error, sqlite3.Error):
            raise journal_file.unusable(journal, error) from error
        raise
    return record


def _copy_state(state: Path, target: Path, record: Record) -> None:
    record.schema = _copy_journal(state / journal_file.NAME, target / journal_file.NAME)
    _copy_rows(state, target, record)
    for name in (*KEYS, TREES[0]):
        copy_tree(state / name, target / name)
    _copy_roles(state / TREES[1], target / TREES[1])
    record.files = {
        str(path.relative_to(target)): path.stat().st_size for path in sorted(target.rglob("*")) if path.is_file()
    }
    os.sync()
    with directories.replacing(target / RECORD, 0o600) as file:
        file.write(msgspec.json.format(msgspec.json.encode(record), indent=1))
    directories.sync(target)


def _check_target(state: Path, target: Path) -> None:
    if target.resolve().is_relative_to(state.resolve()):
        raise ConfigurationError(f"{target} lies in the state directory {state}; name a directory elsewhere")
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise ConfigurationError(f"{target} is not empty; a backup wants a new directory")
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be used: {error.strerror}") from None


def _copy_journal(journal: Path, copy: Path) -> int:
    """Its schema. A connection beside the daemon's: with a WAL nobody waits for the other."""
    copy.touch(0o600)
    with _open(journal) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")  # one file, until a daemon opens it
        journal_file.check_pages(target)
        (schema,) = target.execute("PRAGMA user_version").fetchone()
    if not 0 < schema <= SCHEMA_VERSION:
        raise ConfigurationError(f"{journal} has schema {schema}; this echod knows up to {SCHEMA_VERSION}")
    return int(schema)


@contextlib.contextmanager
def _open(journal: Path) -> Iterator[sqlite3.Connection]:
    if not os.access(journal, os.W_OK):  # SQLite needs the files beside it, and makes them
        raise ConfigurationError(f"{journal} is another account's; run this as that account, or as root")
    with contextlib.closing(sqlite3.connect(f"{journal.resolve().as_uri()}?mode=rw", uri=True)) as db:
        yield db


def _copy_rows(state: Path, target: Path, record: Record) -> None:
    with contextlib.closing(sqlite3.connect(target / journal_file.NAME)) as db:
        rows = list(_rows(db))
        seen: dict[tuple[int, int], Path] = {}
        absent = [row for row in rows if not _copy_row(state, target, row, seen)]
        gone = _removed(state, absent)
        for row in gone:
            db.execute(f"DELETE FROM {row.holding} WHERE id = ?", (row.id,))
            shutil.rmtree(target / row.place, ignore_errors=True)
        db.commit()
    record.removed_meanwhile = [row.id for row in gone]
    record.lost = [row.id for row in absent if row not in gone]
    kept = [row for row in rows if row not in absent]
    record.jobs = sum(row.holding == "jobs" for row in kept)
    record.uploads = len(kept) - record.jobs


def _rows(db: sqlite3.Connection) -> Iterator[Row]:
    for id, status in db.execute("SELECT id, status FROM jobs ORDER BY seq"):
        yield Row("jobs", id, status)
    for (id,) in db.execute("SELECT id FROM files ORDER BY seq"):
        yield Row("files", id)


def _copy_row(state: Path, target: Path, row: Row, seen: dict[tuple[int, int], Path]) -> bool:
    """Whether it was there."""
    if not strays.OURS.fullmatch(row.id):  # it would be a path
        raise ConfigurationError(f"the journal in {state} names {row.id!r}, which is no id; it is damaged")
    place = target / row.place
    place.mkdir(mode=0o700, parents=True)
    try:
        for path in sorted((state / row.place).iterdir()):
            if row.wants(path.name) and stat.S_ISREG(path.lstat().st_mode):
                _take(path, place / path.name, seen)
    except (FileNotFoundError, NotADirectoryError):  # it is being removed
        return False
    return (place / row.essential).exists()


def _take(source: Path, copy: Path, seen: dict[tuple[int, int], Path]) -> None:
    """Link the file. Where that cannot be done it is copied, once: a job's inputs are links of uploads."""
    status = source.lstat()
    known = seen.get((status.st_dev, status.st_ino))
    try:
        os.link(known or source, copy)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, copy, follow_symlinks=False)
        copy.chmod(0o600)
    seen.setdefault((status.st_dev, status.st_ino), copy)


def _removed(state: Path, absent: Iterable[Row]) -> set[Row]:
    """Those that the daemon has removed, or is removing. Of the others something is missing that should be there."""
    with _open(state / journal_file.NAME) as db:
        known = set(_rows(db))
    ids = {row.id for row in known}
    return {row for row in absent if row.id not in ids or is_cut_short(state / row.place)}


def _copy_roles(source: Path, target: Path) -> None:
    """People change these in place, so they are copied; again, if one was changed meanwhile."""
    if not source.is_dir():
        return
    for _ in range(LOOKS):
        before = roles.stamps(source)
        with contextlib.suppress(FileNotFoundError, shutil.Error):
            copy_tree(source, target)
            if roles.stamps(source) == before:
                return
        shutil.rmtree(target, ignore_errors=True)
    raise ConfigurationError(f"the roles in {source} change faster than they are copied; try again")
