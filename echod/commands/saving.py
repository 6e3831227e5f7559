"""Saving a clip or a recording: complete and under its name, or not there at all."""

from __future__ import annotations

import errno
import itertools
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from echod.errors import EchodError
from echod.host.directories import is_full

if TYPE_CHECKING:
    from echod.client.client import Client


# What no name can have, and what a terminal would obey; undecodable bytes of the person's own names stay.
UNNAMABLE = re.compile(r"[/\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udc7f\udd00-\udfff]")
MAX_STEM = 240  # bytes: file names have 255, and a number and the suffix take some


class Target:
    """Where something goes: a file named with -o is replaced, a name of our own making is never one that is taken.

    Of a link, what it points to is replaced; a pipe or a device is written to.
    """

    def __init__(self, named: Path | None, stem: str, suffix: str = ".mp4") -> None:
        if named == Path("-"):
            raise EchodError(
                "invalid_request", "stdout is for the path alone: name a file, or a pipe (mkfifo)", param="output"
            )
        self._replaces = named is not None and not named.is_dir()
        self._path = named if named and self._replaces else (named or Path()) / f"{_cut(stem)}{suffix}"
        self._place = Path(os.path.realpath(self._path)) if self._replaces else self._path
        self._pours = self._replaces and self._path.exists() and not self._path.is_file()

    def check(self) -> None:
        """Refuse a target that cannot be written, before anybody works for it."""
        with self._errors(None):
            if not self._pours:
                with self._part():
                    pass
            elif not os.access(self._path, os.W_OK):  # opening a pipe would wait for its reader
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def save(self, client: Client, video_id: str) -> Path:
        """Download the clip; it appears under its name once it is complete."""
        with self._errors(video_id):
            return self._fill(lambda file: client.content(video_id, file))

    def write(self, data: bytes) -> Path:
        """Write what is at hand; returns where it is."""
        with self._errors(None):
            return self._fill(lambda file: file.write(data))

    def _fill(self, fill: Callable[[BinaryIO], object]) -> Path:
        if self._pours:
            self._pour(fill)
            return self._path
        with self._part() as (part, file):
            fill(file)
            file.flush()
            path = self._path if self._replaces else self._free_name()
            part.replace(self._place if self._replaces else path)
        return path

    def _pour(self, fill: Callable[[BinaryIO], object]) -> None:
        with tempfile.TemporaryFile() as whole:  # a download that breaks off starts again, and a pipe cannot
            fill(whole)
            whole.seek(0)
            with self._path.open("wb") as file:
                shutil.copyfileobj(whole, file)

    @contextmanager
    def _part(self) -> Iterator[tuple[Path, BinaryIO]]:
        part = self._place.with_name(f".{secrets.token_hex(8)}.part")  # short: the name itself may be as long as can be
        try:
            with part.open("xb") as file:
                yield part, file
        finally:
            part.unlink(missing_ok=True)

    def _free_name(self) -> Path:
        """Claims speech.mp4, else speech-1.mp4, and so on; two commands never claim the same."""
        for number in itertools.count():
            path = self._path.with_stem(f"{self._path.stem}-{number}") if number else self._path
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            except FileExistsError:
                continue
            return path
        raise AssertionError

    @contextmanager
    def _errors(self, video_id: str | None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            code = "disk_full" if is_full(error) else "invalid_request"
            again = f"; the daemon still has the clip: `echod fetch {video_id} -o FILE`" if video_id else ""
            raise EchodError(code, f"cannot write {self._path}: {error.strerror}{again}", param="output") from None


def _cut(stem: str) -> str:
    stem = UNNAMABLE.sub("-", stem)  # an id is what the daemon says it is
    while len(os.fsencode(stem)) > MAX_STEM:
        stem = stem[:-1]
    return stem
