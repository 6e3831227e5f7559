"""Directories of the daemon: made for its user alone, and kept so."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from echod.errors import ConfigurationError, EchodError

PRIVATE = 0o700
# Read-only, damaged, not ours, or files where directories should be: whoever asked can do nothing about it.
FAILED = frozenset((errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ESTALE))
SHORT = 40  # bytes; Linux takes socket paths of up to 107
OTHERS_WRITE = 0o002  # a group that may write was given that right by somebody


def create_directory(path: Path) -> None:
    """One that the settings name. What others could write to, or have put in its place, is refused.

    Their modes are for the people who named them to change: it may be the home of more than the daemon.
    """
    _make(path)
    if (mode := path.stat().st_mode) & OTHERS_WRITE:
        raise ConfigurationError(
            f"other users may write to {path} (mode {stat.S_IMODE(mode):04o}): `chmod o-w {path}`, or name another "
            "directory with --runtime-dir or --state-dir"
        )


def create_private(path: Path) -> None:
    """One inside those, for nobody but the daemon: whatever its mode was, it is 0700."""
    _make(path)
    if stat.S_IMODE(path.stat().st_mode) != PRIVATE:
        try:
            path.chmod(PRIVATE)
        except OSError as error:
            raise ConfigurationError(f"{path} must be readable by its owner alone: {error.strerror}") from None


def short_temporary() -> Path:
    """Where temporary files are, by a path that leaves room for sockets' names below it."""
    root = tempfile.gettempdir()
    return Path(root if len(os.fsencode(root)) <= SHORT else "/tmp")


def _make(path: Path) -> None:
    try:
        for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
            missing.mkdir(PRIVATE, exist_ok=True)  # its mode, unlike that of `parents=True`, is no matter of the umask
        owners = {path.lstat().st_uid, path.stat().st_uid}
    except OSError as error:
        if is_full(error):
            raise EchodError("disk_full", f"cannot make {path}: {error.strerror}; free some space") from None
        raise ConfigurationError(f"cannot make {path}: {error.strerror}") from None
    if not path.is_dir():
        raise ConfigurationError(f"{path} is no directory; move it away")
    if not owners <= {0, os.getuid()}:
        raise ConfigurationError(f"{path} belongs to somebody else; name another with --runtime-dir or --state-dir")


def sync(*paths: Path) -> None:
    """Have files, or the names in directories, there after a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replacing(path: Path, mode: int = 0o666, part: Path | None = None) -> Iterator[BinaryIO]:
    """A file, called `part` meanwhile, that takes the place of another (or of a link) in one step, on disk by then."""
    part = part or path.with_name(f".{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def storage_code(error: OSError) -> str:
    """The code for what keeps something from being stored: disk_full, disk_failed, or internal for any other error."""
    return "disk_full" if is_full(error) else "disk_failed" if error.errno in FAILED else "internal"


def unstorable(what: str, error: OSError) -> EchodError:
    """The error to raise for one that the file system gave."""
    remedy = {
        "disk_full": "; free some space and try again",
        "disk_failed": "; the daemon's disk is read-only, damaged or not its own: mend that and try again",
    }
    if error.errno == errno.ENOENT:
        return EchodError("not_found", "a file of this request was deleted meanwhile; upload it again")
    code = storage_code(error)
    return EchodError(code, f"{what} cannot be stored: {error.strerror or error}{remedy.get(code, '')}")


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Have the state directory to oneself; ConfigurationError where another daemon has it.

    The directory itself is locked: a file in it could be removed, and another put in its place and locked again.
    """
    create_directory(directory)
    with held(directory):
        yield


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """The same of one that is there, whoever it belongs to."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lock(descriptor, f"the state directory {directory}")
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, what: str) -> None:
    """Until it is closed. ConfigurationError where another daemon has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            f"another daemon uses {what}; stop it, or name another directory with --state-dir"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{what} cannot be locked: {error.strerror}; its file system must be able to"
        ) from None
