"""How much of a disk may be written, looked at while writing: no clip may fill a disk that others live on."""

from __future__ import annotations

import shutil
from pathlib import Path

LOOK = 1 << 20  # bytes between two looks at the disk


class NoRoom(Exception):
    """Nothing more may be written. `code` is quota_exceeded or disk_full."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Room:
    """What may be written into `directory`: `most` bytes (None: any number), while `spare` stay free on its disk."""

    def __init__(self, directory: Path, most: int | None = None, spare: int = 0) -> None:
        self._directory = directory
        self._most = most
        self._spare = spare
        self._taken = 0
        self._looked = -LOOK

    def take(self, size: int) -> None:
        """Call before writing so many bytes. Raises NoRoom."""
        self._taken += size
        if self._most is not None and self._taken > self._most:
            raise NoRoom("quota_exceeded", f"more than the {self._most} bytes are needed that were left for it")
        if self._taken - self._looked >= LOOK:
            self._looked = self._taken
            self.fit(0)

    def fit(self, size: int) -> None:
        """Raises NoRoom if so many bytes do not fit on the disk at present, whoever they count for."""
        free = shutil.disk_usage(self._directory).free - size
        if free < self._spare:
            raise NoRoom("disk_full", f"the disk has {free >> 20} MiB left, and {self._spare >> 20} must stay free")

    def for_copy(self) -> Room:
        """For what is written once more and replaces what it was made of: it must fit on the disk, no more."""
        return Room(self._directory, None, self._spare)
