"""A backup, put back where there is nothing yet."""

from __future__ import annotations

import os
from pathlib import Path

from echod import journal_file
from echod.backup.record import HELD, KEYS, TREES, Record, copy_tree, read_record, remove
from echod.errors import ConfigurationError
from echod.host import directories


def restore(source: Path, state: Path) -> Record:
    """Put a backup into a state directory that holds nothing yet and that no daemon uses. ConfigurationError, OSError.

    The files become the owner's of that directory. They are copied, so that nothing happens to the backup.
    """
    record = read_record(source)
    if not state.exists():
        state.mkdir(mode=0o700, parents=True)
    with directories.held(state):
        _check_vacant(state)
        try:
            for name in (*journal_file.HOLDINGS, *KEYS, *TREES, journal_file.NAME):  # the journal last
                if (source / name).exists():
                    copy_tree(source / name, state / name)
            for name in journal_file.HOLDINGS:
                (state / name).mkdir(mode=0o700, exist_ok=True)
            _hand_over(state)
        except BaseException:
            for name in HELD:
                remove(state / name)
            raise
        os.sync()
    return record


def _check_vacant(state: Path) -> None:
    if there := [name for name in HELD if (state / name).exists()]:
        raise ConfigurationError(
            f"{state} holds {', '.join(there)}: a backup is put where nothing is. Name another directory with "
            f"--state-dir, or set these aside: `{journal_file.set_aside(state / journal_file.NAME, HELD)}`"
        )


def _hand_over(state: Path) -> None:
    """To whom the state directory belongs, where root has done this."""
    owner = state.stat()
    if os.geteuid() == owner.st_uid:
        return
    for name in HELD:
        for path in [state / name, *(state / name).rglob("*")]:
            if os.path.lexists(path):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
