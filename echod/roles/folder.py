"""Role folders on disk, read and written without ever leaving them: no symbolic link is followed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from echod.errors import EchodError, invalid
from echod.host.directories import replacing
from echod.roles.file import NAME, RoleFile, dump, line_of, read

ROLE_FILE = "role.toml"
MAX_ROLE_FILE = 64 * 1024  # bytes

# No room, no descriptors, no memory, a disk that fails: the machine's fault, which passes, and not the folder's.
PASSING = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS, errno.EIO, errno.ESTALE)
)

UNFINISHED = re.compile(r"\.[0-9a-f]{16}")

Stamp: TypeAlias = tuple[object, ...]  # changes when a folder does


@contextlib.contextmanager
def open_role(folder: Path) -> Iterator[tuple[RoleFile, BinaryIO]]:
    """What the role.toml in `folder` says, and the portrait it names, open for reading.

    EchodError invalid_request or unsupported_size; its message begins with the file, and the line where there is one.
    """
    path = folder / ROLE_FILE
    with _open_folder(folder) as directory:
        with _open_file(directory, ROLE_FILE, str(path)) as file:
            data = file.read(MAX_ROLE_FILE + 1)
        if len(data) > MAX_ROLE_FILE:
            raise invalid(f"{path}: the file has more than {MAX_ROLE_FILE} bytes")
        role = read(data, path)
        line = line_of(data.decode(), ["portrait"])
        with _open_file(directory, role.portrait, f"{path}:{line}: portrait = {role.portrait!r}") as portrait:
            yield role, portrait


def stamps(root: Path) -> dict[str, Stamp]:
    """Every folder, and every link that could pass for one; what begins with a dot is nobody's role."""
    root.mkdir(mode=0o700, exist_ok=True)  # somebody may have removed it with all in it
    with os.scandir(root) as entries:
        found = sorted(entry.name for entry in entries if not entry.name.startswith(".") and not _is_file(entry))
    stamped = {}
    for name in found:
        try:
            stamped[_shown(name)] = _stamp(root / name)
        except FileNotFoundError:  # it has just gone
            continue
        except OSError as error:  # reading it will fail too, and say so
            stamped[_shown(name)] = (error.errno,)
    return stamped


def _is_file(entry: os.DirEntry[str]) -> bool:
    return not entry.is_symlink() and not entry.is_dir()


def _shown(name: str) -> str:
    """The name, fit for a line of text whatever bytes it is made of."""
    return name if NAME.fullmatch(name) else ascii(name)[1:-1]


def _stamp(folder: Path) -> Stamp:
    status = folder.lstat()
    facts = [_identity(status)]
    if stat.S_ISDIR(status.st_mode):
        with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
            facts += [(entry.name, *_identity(entry.stat(follow_symlinks=False))) for entry in entries]
    return tuple(sorted(facts, key=str))


def _identity(status: os.stat_result) -> tuple[object, ...]:
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def sweep(root: Path) -> None:
    """Remove what a death left half written or half removed."""
    for path in root.iterdir():
        if UNFINISHED.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def look_at_portrait(folder: Path, limit: int) -> tuple[RoleFile, str]:
    """The role's file and its portrait's sha256."""
    with open_role(folder) as (file, portrait):
        return file, _copy(portrait, None, limit, folder / file.portrait)


def copy_portrait(folder: Path, target: Path, limit: int) -> tuple[RoleFile, str]:
    """The same. A copy, so that what is inspected is what was checked."""
    with open_role(folder) as (file, portrait), target.open("xb") as copy:
        return file, _copy(portrait, copy, limit, folder / file.portrait)


def _copy(source: BinaryIO, target: BinaryIO | None, limit: int, shown: Path) -> str:
    digest, size = hashlib.sha256(), 0
    while block := source.read(2**20):
        size += len(block)
        if size > limit:
            raise EchodError("payload_too_large", f"{shown} has more than {limit} bytes (setting max_upload)")
        digest.update(block)
        if target:
            target.write(block)
    return digest.hexdigest()


def write(folder: Path, file: RoleFile, picture: Path | None, former: str | None) -> None:
    """A new folder appears whole; in one that exists, role.toml changes last, and at once."""
    new = not folder.exists()
    place = folder.with_name(_unfinished()) if new else folder
    try:
        if new:
            place.mkdir(mode=0o700)
        if picture is not None:
            with picture.open("rb") as source, replacing(place / file.portrait) as target:
                shutil.copyfileobj(source, target)
        with replacing(place / ROLE_FILE) as target:
            target.write(dump(file).encode())
        if former and former != file.portrait:
            (place / former).unlink(missing_ok=True)
        if new:
            place.rename(folder)
    except BaseException:
        if new:
            shutil.rmtree(place, ignore_errors=True)
        raise


def _unfinished() -> str:
    return f".{secrets.token_hex(8)}"


def remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
        return
    gone = folder.with_name(_unfinished())
    folder.rename(gone)  # at once: half a role would be a broken one
    shutil.rmtree(gone, ignore_errors=True)


@contextlib.contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in PASSING:
            raise
        linked = folder.is_symlink()
        why = "is a symbolic link, and these are not followed: copy the folder" if linked else f"{error.strerror}"
        raise invalid(f"{folder}: {why}") from None
    try:
        yield directory
    finally:
        os.close(directory)


def _open_file(directory: int, name: str, shown: str) -> BinaryIO:
    """A regular file in the folder; anything else might be a way out of it, or never end."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno in PASSING:
            raise
        linked = error.errno == errno.ELOOP
        why = "is a symbolic link, and these are not followed: copy the file" if linked else error.strerror
        raise invalid(f"{shown}: {why}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise invalid(f"{shown}: it is no regular file")
    return os.fdopen(descriptor, "rb")
