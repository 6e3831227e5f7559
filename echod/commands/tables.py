"""Plain text for people: tables, and one object's facts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TIMES = ("created_at", "completed_at", "expires_at")


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def fact_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """One `name: value` a line; what is unknown is left out, and what lies deeper is `outer.name: value`."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{line}" for line in fact_lines(value))
        elif value is not None and value != []:
            yield f"{name}: {_text(name, value)}"


def day(moment: float | None) -> str:
    return "-" if moment is None else time.strftime("%Y-%m-%d", time.localtime(moment))


def _text(name: str, value: Any) -> str:
    if name in TIMES:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
