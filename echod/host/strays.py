"""Directories without a row in the journal: what was never accepted is removed, everything else is set aside.

A directory bears a mark until its row is committed. One that has neither mark nor row had a row once, in a journal that
was lost or is an older copy: what lies in it is for people to delete, not for a start of the daemon.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger("echod.state")

MARK = "unaccepted.part"
OURS = re.compile(r"(video|file)_[0-9a-f]{32}")  # anything else, such as lost+found, is none of our business
ASIDE = "aside"


def make(directory: Path) -> None:
    """A new directory, marked."""
    directory.mkdir(mode=0o700)
    (directory / MARK).touch(mode=0o600)


def accepted(directory: Path) -> None:
    """Its row is committed. A mark that cannot be removed does no harm beside a row."""
    with contextlib.suppress(OSError):
        (directory / MARK).unlink()


def discard(directory: Path) -> None:
    """Remove one that was not accepted; the mark goes last, so that a death in between leaves it marked."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.name != MARK:
                path.unlink()
    shutil.rmtree(directory, ignore_errors=True)


def directories(root: Path) -> list[Path]:
    """All that have, or should have, a row. None where there is no `root`."""
    try:
        return [path for path in root.iterdir() if OURS.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_forgotten(path: Path) -> bool:
    """Whether something is in it that must have had a row. A removal that was cut short leaves nothing in it."""
    if path.is_symlink() or not path.is_dir():
        return True
    names = {entry.name for entry in path.iterdir()}
    return bool(names) and MARK not in names


def clear(strays: Iterable[Path]) -> None:
    """Remove or set aside directories that have no row."""
    aside = []
    for path in strays:
        if is_forgotten(path):
            aside.append(_set_aside(path))
        else:
            discard(path)
    if aside:
        log.warning(
            "the journal does not know %d directories, such as %s: they were set aside in %s, for you to look at "
            "and to remove", len(aside), aside[0].name, aside[0].parent
        )  # fmt: skip


def _set_aside(path: Path) -> Path:
    """Beside the others, so that it stays on its file system."""
    aside = path.parent / ASIDE
    aside.mkdir(mode=0o700, exist_ok=True)
    return path.rename(free_name(aside / path.name))


def free_name(path: Path) -> Path:
    """This, or with a number behind it if it is taken."""
    names = itertools.chain([path], (path.with_name(f"{path.name}.{number}") for number in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))
