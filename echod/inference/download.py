"""Fetching one file by HTTP. It gets its name once it is whole and its content is right.

What has come of it stays beside it as `NAME.<tag>.part`, so that the next attempt goes on where this one broke off. The
transfer is huggingface_hub's, whoever serves: its bars, its retries, its timeouts, and HF_HUB_OFFLINE.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InputError

Tell = Callable[[str], None]

PIECE = 1 << 22  # bytes read at once


@dataclass(frozen=True)
class Source:
    """A file somewhere else. `tag` stands for its content; `place` is whom it is asked of, for people.

    `denied`, `absent` and `elsewhere` are what to do where it is not given out, not there, or anything else is wrong.
    """

    name: str
    url: str
    place: str
    tag: str
    sha256: str | None = None
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    denied: str = "it may have moved"
    absent: str = "it is not there; it may have moved"
    elsewhere: str = "pull again later"


def fetch(source: Source, path: Path, tell: Tell, copy: Callable[[Path], bool] = lambda partial: False) -> None:
    """Bring the file to `path`, which it replaces. `copy` may put it there some other way, and says whether it did.

    Raises InputError: unauthorized, forbidden, not_found, disk_full, internal.
    """
    partial = partial_of(source.tag, path)
    partial.parent.mkdir(parents=True, exist_ok=True)
    _drop_others(path, partial)
    if source.size is not None and size_of(partial) > source.size:
        partial.unlink()
    resumed = size_of(partial) > 0
    if not copy(partial):
        _download(source, partial, tell)
    if source.sha256 and (found := digest(partial)) != source.sha256:
        partial.unlink()
        if resumed:  # what was here may have been the wrong half
            tell(f"{source.name}: the part that was here is not of this file, from the beginning then")
            return fetch(source, path, tell, copy)
        raise InputError(
            "internal",
            f"{source.name}: what came has sha256 {found}, but {source.sha256} was announced, and was thrown "
            f"away; {source.elsewhere}",
        )
    partial.replace(path)
    return None


def _download(source: Source, partial: Path, tell: Tell) -> None:
    from huggingface_hub.file_download import http_get

    here = size_of(partial)
    parts = [
        f"{source.size / 1e6:,.1f} MB" if source.size else "",
        f"{here / 1e6:,.1f} MB here already" if here else "",
    ]
    tell(f"{source.name}: {', '.join(filter(None, parts)) or f'from {source.place}'}")
    with failures(source), partial.open("ab") as file:
        http_get(
            source.url,
            file,
            headers=dict(source.headers),
            resume_size=here,
            expected_size=source.size,
            displayed_filename=source.name,
        )
        file.flush()
        os.fsync(file.fileno())


def partial_of(tag: str, path: Path) -> Path:
    """What has come of the file so far, under a name that another content of it does not have."""
    return path.with_name(f"{path.name}.{tag[:16]}.part")


def _drop_others(path: Path, partial: Path) -> None:
    """What came of an older version of the file is of no use any more."""
    for other in path.parent.glob(f"{path.name}.*.part"):
        if other != partial:
            other.unlink()


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def digest(path: Path, tick: Callable[[], None] = lambda: None) -> str:
    """sha256 of a file of any size; `tick` is called with every piece of it, as a sign of life."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
            tick()
    return found.hexdigest()


def check_space(directory: Path, needed: int) -> None:
    """Raises InputError disk_full where that many bytes do not fit."""
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise InputError(
            "disk_full",
            f"{directory} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are missing; "
            "free some, or name another directory with --weights",
        )


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Two pulls into one directory would write into the same files."""
    directory.mkdir(parents=True, exist_ok=True)
    held = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError("invalid_request", f"another pull into {directory} is running") from None
    finally:
        os.close(held)


@contextmanager
def failures(source: Source) -> Iterator[None]:
    """Whatever huggingface_hub raises, and its HTTP library below it, as one InputError about the file."""
    try:
        yield
    except Exception as error:  # which HTTP library lies below, and so which exceptions, changes between its versions
        code, reason = _explained(error, source)
        raise InputError(code, f"{source.name} was not fetched from {source.place}: {reason}") from error


def _explained(error: Exception, source: Source) -> tuple[str, str]:
    match getattr(getattr(error, "response", None), "status_code", None):
        case 401 | 403 as status:
            code = "unauthorized" if status == 401 else "forbidden"
            return code, f"{status}, it is not given out. {source.denied}"
        case 404:
            return "not_found", f"404, {source.absent}"
        case int() as status:
            return "internal", f"it answered {status}; {source.elsewhere}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", "the disk is full; what came is kept"
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return "internal", (
        f"{type(error).__name__}: {text}. What came is kept, and the next pull goes on from there; {source.elsewhere}"
    )
