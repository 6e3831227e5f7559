"""What a backup is made of, and what it says about itself."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import msgspec

from echod import __version__, journal_file
from echod.errors import ConfigurationError
from echod.journal import SCHEMA_VERSION

RECORD = "backup.json"
# What a state directory holds besides the journal. Weights, caches and what people put beside are none of a backup's.
KEYS, TREES = (journal_file.KEY,), ("credentials", "roles")
HELD = (*(journal_file.NAME + suffix for suffix in journal_file.FILES), *journal_file.HOLDINGS, *KEYS, *TREES)


class Record(msgspec.Struct, kw_only=True):
    """What a backup says about itself. `files` has the size of each, by its path."""

    echod: str
    schema: int
    taken_at: str
    jobs: int = 0
    uploads: int = 0
    removed_meanwhile: list[str] = []
    lost: list[str] = []  # the journal knows them, and nothing lies where they should be
    files: dict[str, int] = {}

    @property
    def size(self) -> int:
        return sum(self.files.values())


def read_record(source: Path) -> Record:
    """What a backup says about itself, once all that it names is there. ConfigurationError."""
    try:
        record = msgspec.json.decode((source / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ConfigurationError(f"{source} is no backup, or one that was broken off: {RECORD}: {error}") from None
    if record.schema > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{source} was taken by echod {record.echod} and has schema {record.schema}; this echod, {__version__}, "
            f"knows up to {SCHEMA_VERSION}. Install {record.echod} or a newer one"
        )
    for name, size in record.files.items():
        path = source / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            lies = "is missing" if found is None else f"has {found} bytes"
            raise ConfigurationError(f"{source} is damaged: {name} {lies}, it had {size}; take another backup")
    with contextlib.closing(
        sqlite3.connect(f"{(source / journal_file.NAME).resolve().as_uri()}?mode=ro", uri=True)
    ) as db:
        try:
            journal_file.check_pages(db)
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{source} is damaged: {journal_file.NAME}: {error}; take another backup"
            ) from None
    return record


def copy_tree(source: Path, target: Path) -> None:
    """A file or a directory, if it is there. What begins with a dot is being written; links are not followed."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=lambda _, names: [n for n in names if n[0] == "."])
    elif source.exists():
        shutil.copy2(source, target, follow_symlinks=False)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
