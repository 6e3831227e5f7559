"""Setting a machine up in steps: each is looked at first, then done by commands that somebody could type as well."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from echod.errors import ConfigurationError


class Command(NamedTuple):
    """A program to run. `text` is written to its stdin; without, it may ask the person at the terminal."""

    argv: tuple[str, ...]
    text: str | None = None
    shown: str = ""  # as it is typed, where that is another line

    def __str__(self) -> str:
        return self.shown or shlex.join(self.argv)


class Step(NamedTuple):
    """Something that is to be so. `done` looks whether it is; `remedy` is what to do where a command fails."""

    what: str
    done: Callable[[], bool]
    commands: tuple[Command, ...]
    remedy: str = ""


def carry_out(
    steps: Iterable[Step], tell: Callable[[str], None], *, dry_run: bool, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """Do what is not done yet, and tell of each; a dry run only tells, in lines for a shell. What was changed.

    Steps are looked at one by one, as those before leave the machine. ConfigurationError where a command fails: what
    was done stays, and a second run goes on from there.
    """
    changed = []
    for step in steps:
        if step.done():
            tell(f"# {step.what}: there already")
            continue
        tell(f"# {step.what}")
        for command in step.commands:
            tell(str(command))
            if not dry_run:
                _run(step, command, environ)
        changed.append(step.what)
    return changed


def _run(step: Step, command: Command, environ: Mapping[str, str]) -> None:
    try:
        ended = subprocess.run(
            command.argv,
            input=command.text,
            text=True,
            env=environ,
            stdout=subprocess.DEVNULL if command.text else None,
        )
        if not ended.returncode:
            return
        how = f"ended with {ended.returncode}"
    except OSError as error:
        how = f"cannot be run: {error.strerror}"
    remedy = step.remedy or "Its own words say why."
    raise ConfigurationError(
        f"{step.what}: `{command}` {how}. {remedy} What was done before stays; run this again to go on"
    )
