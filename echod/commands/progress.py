"""Showing a job's progress on stderr: a bar on a terminal, a line for each stage elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import shutil
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from echod.client import Video

BAR = 24  # characters


class Progress:
    """Shows one job. Uses no colours and no escape codes: a redrawn line is padded over the one before."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar = not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = ""
        self._told: tuple[str, str | None, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def show(self, video: Video) -> None:
        if self._bar:
            self._draw(bar(video, shutil.get_terminal_size().columns - 1))
        elif not self._quiet:
            self._tell(video)

    def note(self, message: str) -> None:
        """A line of its own, above the bar."""
        drawn = self._drawn
        self.clear()
        if not self._quiet:
            click.echo(f"echod: {message}", err=True)
        if drawn:
            self._draw(drawn)

    def clear(self) -> None:
        if self._drawn:
            self._draw("")
            click.echo("\r", nl=False, err=True)

    def _draw(self, line: str) -> None:
        click.echo("\r" + line.ljust(len(self._drawn)), nl=False, err=True)
        self._drawn = line

    def _tell(self, video: Video) -> None:
        now = (video["status"], video["echod"].get("stage"), video["echod"].get("attempt") or 0)
        if now != self._told:
            self._told = now
            click.echo(f"echod: {video['id']}: {summary(video)}", err=True)


def bar(video: Video, width: int) -> str:
    """`decode 12/30 windows [######------] 40% 0:12 left`, cut to the terminal."""
    done = BAR * video["progress"] // 100
    line = f"[{'#' * done}{'-' * (BAR - done)}] {summary(video)}"
    return line[:width]


def summary(video: Video) -> str:
    """A job's state in a few words."""
    extras = video["echod"]
    if video["status"] == "queued":
        return _waiting(extras.get("queue_position"), extras.get("stage"))
    if video["status"] != "in_progress":
        return video["status"]
    words = [f"{video['progress']:3d}%", extras.get("stage") or "starting"]
    if total := extras.get("windows_total"):
        words.append(f"{extras.get('windows_done', 0)}/{total} windows")
    if (left := extras.get("eta_s")) is not None:
        words.append(f"{clock(left)} left")
    if device := extras.get("device"):
        words.append(f"on {device}")
    if (attempt := extras.get("attempt") or 1) > 1:
        words.append(f"(attempt {attempt})")
    return " ".join(words)


def _waiting(position: int | None, stage: str | None) -> str:
    if stage:
        return f"queued, {stage}"
    return f"queued, {position} before it" if position else "queued, next" if position == 0 else "queued"


def clock(seconds: float) -> str:
    """Seconds as 0:12, 3:05 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
