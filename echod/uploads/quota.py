"""What the uploads and jobs of each account take on disk, and how much that may be.

Jobs link the files of uploads: what two directories of an account share counts once, and goes with the last of them.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from pathlib import Path

from echod.config import Settings
from echod.errors import EchodError

MiB = 2**20


class Quota:
    """Counts directories; use it in one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directories: dict[Path, tuple[str, dict[int, int]]] = {}  # its account, size by inode
        self._holders: defaultdict[str, Counter[int]] = defaultdict(Counter)  # directories of an account by inode
        self._used: Counter[str] = Counter()

    def used(self, account: str) -> int:
        """Bytes."""
        return self._used[account]

    @property
    def total(self) -> int:
        """Bytes of all accounts."""
        return self._used.total()

    def count(self, account: str, directory: Path) -> None:
        """Count the directory as it is now."""
        self.forget(directory)
        if not (sizes := _sizes(directory)):
            return
        self._directories[directory] = account, sizes
        holders = self._holders[account]
        for inode, size in sizes.items():
            self._used[account] += 0 if holders[inode] else size
            holders[inode] += 1

    def forget(self, directory: Path) -> None:
        """It goes: call before its files do, for their inodes will soon be others'."""
        if directory not in self._directories:
            return
        account, sizes = self._directories.pop(directory)
        holders = self._holders[account]
        for inode, size in sizes.items():
            holders[inode] -= 1
            if not holders[inode]:
                del holders[inode]
                self._used[account] -= size

    def check(self, account: str, coming: int = 1) -> None:
        """Raises EchodError: quota_exceeded, if the account may not take so many bytes more."""
        used, limit = self.used(account), self._settings.now.disk_per_account
        if used + coming > limit:
            more = f", and {coming / MiB:.1f} MiB more are sent" if coming > 1 else ""
            raise EchodError(
                "quota_exceeded",
                f"uploads and clips of this account take {used / MiB:.1f} MiB{more}; disk_per_account is "
                f"{limit / MiB:g} MiB. Remove some (`echod rm`), or have the setting raised",
            )

    def allowance(self, account: str) -> tuple[int, int]:
        """For `inference.room.Room`: how much may be written for the account, and how much must stay free.

        What was accepted may go on below `min_free`, where nothing new is accepted, but not to the last byte.
        """
        return max(0, self._settings.now.disk_per_account - self.used(account)), self._settings.now.min_free // 2


def _sizes(directory: Path) -> dict[int, int]:
    """Bytes by inode. Not of empty files: marks come and go unseen, and their inodes are soon others'."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        sizes = {entry.inode(): entry.stat(follow_symlinks=False).st_size for entry in entries}
        return {inode: size for inode, size in sizes.items() if size}
    return {}
