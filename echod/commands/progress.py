"""Showing progress on stderr: a bar on a terminal, a line for each stage of a job elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Self

import click

from echod.commands.common import note
from echod.commands.tables import columns, cut
from echod.commands.words import t
from echod.host.terminal import plain

if TYPE_CHECKING:
    from echod.client.client import Video

BAR = 24  # characters


class Progress:
    """Shows one thing at a time. Uses no colours and no escape codes: a redrawn line is padded over the one before."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        shown = sys.stderr is not None and sys.stderr.isatty()  # None where it is closed: 2>&-
        self._bar = not quiet and shown and os.environ.get("TERM") != "dumb"
        self._drawn = ""
        self._told: tuple[str, str | None, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def show(self, video: Video) -> None:
        if self._bar:
            self.show_bar(video["progress"], summary(video))
        elif not self._quiet:
            self._tell(video)

    def show_bar(self, percent: int, words: str) -> None:
        """Of what is no job; elsewhere than on a terminal nothing."""
        if self._bar:
            self._draw(bar(percent, words, shutil.get_terminal_size().columns - 1))

    def note(self, message: str) -> None:
        """A line of its own, above the bar."""
        drawn = self._drawn
        self.clear()
        note(message, self._quiet)
        if drawn:
            self._draw(drawn)

    def clear(self) -> None:
        if self._drawn:
            self._draw("")
            click.echo("\r", nl=False, err=True)

    def _draw(self, line: str) -> None:
        rest = columns(self._drawn) - columns(line)
        click.echo("\r" + line + " " * rest, nl=False, err=True)
        self._drawn = line

    def _tell(self, video: Video) -> None:
        now = (video["status"], video["echod"].get("stage"), video["echod"].get("attempt") or 0)
        if now != self._told:
            self._told = now
            note(f"{video['id']}: {summary(video)}")


def bar(percent: int, words: str, width: int) -> str:
    """`[######------]  40% decode 12/30 windows 0:12 left`, cut to the terminal."""
    done = BAR * percent // 100
    line = f"[{'#' * done}{'-' * (BAR - done)}] {plain(words)}"
    return cut(line, width)


def summary(video: Video, *, brief: bool = False) -> str:
    """A job's state in a few words; a table has room for `brief` ones."""
    extras = video["echod"]
    if video["status"] == "queued":
        return waiting(extras.get("queue_position"), extras.get("stage"))
    if video["status"] != "in_progress":
        return t(video["status"])
    words = [f"{video['progress']:3d}%", t(extras.get("stage") or "starting")]
    if (total := extras.get("windows_total")) and not brief:
        words.append(t(f"{extras.get('windows_done', 0)}/{total} windows"))
    if (left := extras.get("eta_s")) is not None:
        words.append(t(f"{clock(left)} left"))
    device, helpers = extras.get("device"), extras.get("helpers") or []
    if brief:
        if helpers:
            words.append(t(f"on {device} + {helpers[0] if len(helpers) == 1 else len(helpers)}"))
        return " ".join(words)
    if device:
        words.append(t(f"on {device}"))
    if helpers:
        words.append(t(f"helped by {', '.join(helpers)}"))
    if (attempt := extras.get("attempt") or 1) > 1:
        words.append(t(f"(attempt {attempt})"))
    return " ".join(words)


def waiting(position: int | None, stage: str | None) -> str:
    """Where a queued job stands."""
    if stage:
        return t(f"queued, {stage}")
    return t(f"queued, {position} before it" if position else "queued, next" if position == 0 else "queued")


def clock(seconds: float) -> str:
    """Seconds as 0:12, 3:05 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
