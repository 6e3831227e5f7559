"""sha256 of files of weights, which are too large to be read for it at every start."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

from echod.host.directories import replacing
from echod.inference.download import digest

Known: TypeAlias = dict[str, list[int | str]]  # path -> size, mtime in ns, inode, sha256


def digests(
    files: Mapping[str, Path], record: Path, reading: Callable[[str], None] = lambda name: None
) -> dict[str, str]:
    """Name -> sha256. Only files that have changed since `record` was written, by size, time or inode, are read.

    `reading` hears the name of each that is, with every piece of it. A record that cannot be read or written costs
    time, no more.
    """
    known, found = _read(record), dict[str, str]()
    kept = dict(known)
    for name, path in files.items():
        status, key = path.stat(), str(path.resolve())
        look: list[int | str] = [status.st_size, status.st_mtime_ns, status.st_ino]
        if key not in kept or kept[key][:-1] != look:
            kept[key] = [*look, digest(path, partial(reading, name))]
        found[name] = str(kept[key][-1])
    if kept != known:
        _write(record, kept)
    return found


def _read(record: Path) -> Known:
    try:
        known = json.loads(record.read_text())
        return {key: value for key, value in known.items() if isinstance(value, list) and value}
    except (OSError, ValueError, AttributeError):
        return {}


def _write(record: Path, known: Known) -> None:
    with suppress(OSError):
        record.parent.mkdir(mode=0o700, exist_ok=True)
        with replacing(record, 0o600) as file:  # several workers may do so at once
            file.write(json.dumps(known, indent=1).encode())
