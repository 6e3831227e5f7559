"""Plain text for people: tables, and one object's facts."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from echod.commands.words import t
from echod.host.terminal import plain

TIMES = ("created_at", "completed_at", "expires_at")


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell; a Chinese character is as wide as two others."""
    from wcwidth import ljust, width

    lines = [[plain(cell) for cell in row] for row in (map(t, head), *rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        yield "  ".join(ljust(cell, columns) for cell, columns in zip(row, widths, strict=True)).rstrip()


def columns(text: str) -> int:
    """How many a text takes on a terminal."""
    from wcwidth import width

    return width(text)


def cut(text: str, columns: int) -> str:
    """As much of a line as fits."""
    from wcwidth import clip

    return clip(text, 0, columns)


def clip(text: str, most: int) -> str:
    """As much of a line as fits, with a sign that there is more."""
    text = plain(text)
    return text if columns(text) <= most else cut(text, max(0, most - 1)).rstrip() + "…"


def terminal_size() -> tuple[int, int] | None:
    """Columns and lines of the terminal that stdout is, None where it is none or cannot move its cursor."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    return shutil.get_terminal_size()


def fact_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """One `name: value` a line; what is unknown is left out, and what lies deeper is `outer.name: value`."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{line}" for line in fact_lines(value))
        elif value is not None and value != []:
            yield plain(f"{name}: {_text(name, value)}")


def day(moment: float | None) -> str:
    return "-" if moment is None else time.strftime("%Y-%m-%d", time.localtime(moment))


def _text(name: str, value: Any) -> str:
    if name in TIMES:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
