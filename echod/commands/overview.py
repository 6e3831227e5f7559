"""Jobs side by side: a table that fits the terminal, and lines that change in place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from echod.commands.common import note, print_line
from echod.commands.progress import clock, summary
from echod.commands.tables import clip, columns, table_lines, terminal_size
from echod.commands.words import t

if TYPE_CHECKING:
    from echod.client.client import Video

LOCAL = "local"  # whose jobs are where nobody has an account
DAY = 86400.0
DIGITS = 8  # of an id; the commands find a job by them
ACCOUNT = 12  # columns
TITLE = 24  # columns that a title gets at least, as far as it has them


def job_table(videos: Sequence[Video], width: int | None) -> Iterator[str]:
    """A line a job; ids and titles are cut so that lines fit `width` columns."""
    head = ["ID", "TITLE", "LENGTH", "AGE", "STATE"]
    named = short_id if width else _whole_id
    rows = [[named(video), _title(video), _length(video), _age(video), state(video)] for video in videos]
    if any(_account(video) != LOCAL for video in videos):
        head.insert(2, "ACCOUNT")
        for row, video in zip(rows, videos, strict=True):
            row.insert(2, clip(_account(video), ACCOUNT))
    if width is not None:
        others = table_lines([head[0], *head[2:]], [[row[0], *row[2:]] for row in rows])
        room = width - 2 - max(map(columns, others))
        for row in rows:
            row[1] = clip(row[1], max(room, TITLE // 2))
    for line in table_lines(head, rows):
        yield line if width is None else clip(line, width)


def short_id(video: Video) -> str:
    return video["id"].removeprefix("video_")[:DIGITS]


def _whole_id(video: Video) -> str:
    return video["id"]


def state(video: Video) -> str:
    """What a table has room for."""
    if video["status"] == "failed" and video["error"]:
        return t(f"failed: {video['error']['code']}")
    return summary(video, brief=True)


def _title(video: Video) -> str:
    return video["echod"].get("title") or "-"


def _account(video: Video) -> str:
    return video["echod"].get("account") or LOCAL


def _length(video: Video) -> str:
    return clock(float(video["seconds"])) if video["seconds"] else "-"


def _age(video: Video) -> str:
    seconds = max(0.0, time.time() - video["created_at"])
    return clock(seconds) if seconds < 2 * DAY else t(f"{seconds // DAY:.0f} d")


class Overview:
    """A line for each job on a terminal: what has ended stays where it is, below it the others change in place."""

    def __init__(self) -> None:
        self._live: dict[str, Video] = {}
        self._drawn = 0  # lines
        self._columns = 80

    def show(self, video: Video) -> None:
        self._erase()
        if video["status"] in ("queued", "in_progress"):
            self._live[video["id"]] = video
        else:
            self._live.pop(video["id"], None)
            print_line(self._line(video))
        self._draw()

    def note(self, message: str) -> None:
        """A line above those of the jobs."""
        self._erase()
        note(message)
        self._draw()

    def _line(self, video: Video) -> str:
        line = f"{short_id(video)}  {clip(_title(video), TITLE)}  {state(video)}"
        return clip(line, self._columns - 1)

    def _erase(self) -> None:
        if self._drawn:
            click.echo(
                f"\x1b[{self._drawn}A\x1b[J", nl=False, color=True
            )  # up to the first line, and what is below it away
            self._drawn = 0

    def _draw(self) -> None:
        """As many as there is room for: what has scrolled away cannot be drawn again."""
        self._columns, lines = terminal_size() or (80, 24)
        shown = list(self._live.values())[: lines - 2]
        for video in shown:
            print_line(self._line(video))
        self._drawn = len(shown)
