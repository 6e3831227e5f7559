"""`echod backup` and `echod restore`: a copy of the state directory, and the way back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from echod.commands.common import as_json, note, print_json, print_path, quiet
from echod.config import load
from echod.host.service import as_service

directory = click.Path(file_okay=False, path_type=Path)
state_dir = click.option(
    "--state-dir", type=directory, metavar="DIR", help="Whose. [else the setting; root's: the installed service's]"
)
SHOWN = 5  # ids of what a backup lacks


@click.command()
@click.argument("target", metavar="DIR", type=directory)
@state_dir
@as_json
@quiet
def backup(target: Path, state_dir: Path | None, as_json: bool, quiet: bool) -> None:
    """Copy journal, uploads, clips, roles and keys to DIR, a new or empty directory, and print its path.

    The daemon may run meanwhile. On the same file system clips and uploads are linked, which takes no room; copy DIR
    elsewhere to be safe from a broken disk. Settings and weights are not in it. Whoever reads DIR can sign as the box,
    and has everybody's clips.

    Exits with 1 where something that the journal knows was not there to be copied.
    """
    from echod.backup.taking import back_up

    os.umask(0o077)
    where = _state_dir(state_dir)
    record = back_up(where, target)
    if as_json:
        print_json({"directory": str(target), "state_dir": str(where), **_summary(record)})
    else:
        note(f"{record.jobs} jobs and {record.uploads} uploads of {where}, {record.size / 1e6:,.1f} MB", quiet)
        print_path(target)
    if record.removed_meanwhile:
        note(f"removed while this ran, and not in it: {_some(record.removed_meanwhile)}", quiet)
    if record.lost:
        note(f"known to the journal, but not there to be copied: {_some(record.lost)}; look at the disk of {where}")
        sys.exit(1)


@click.command()
@click.argument("source", metavar="DIR", type=directory)
@state_dir
@quiet
def restore(source: Path, state_dir: Path | None, quiet: bool) -> None:
    """Put what `echod backup` copied to DIR into a state directory that holds nothing yet, and print its path.

    No daemon may use it. Jobs that had not ended are begun anew by the next start. Everything belongs to the owner of
    the state directory then.
    """
    from echod.backup.restoring import restore

    os.umask(0o077)
    where = _state_dir(state_dir)
    record = restore(source, where)
    note(f"{record.jobs} jobs and {record.uploads} uploads of {record.taken_at}, by echod {record.echod}", quiet)
    print_path(where)


def _state_dir(given: Path | None) -> Path:
    return load({"state_dir": given}, as_service()).state_dir


def _summary(record: object) -> dict[str, object]:
    import msgspec

    return {name: value for name, value in msgspec.to_builtins(record).items() if name != "files"}


def _some(ids: list[str]) -> str:
    shown = ", ".join(ids[:SHOWN])
    return shown if len(ids) <= SHOWN else f"{shown} and {len(ids) - SHOWN} more"
