"""What a PromQL expression asks for: enough of its grammar for dashboards and alerts, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SELECTOR = re.compile(r"\b(echod_\w+|up)\b(?:\{(.*?)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
SCRAPED = {"instance", "job"}  # labels that Prometheus adds


class Selector(NamedTuple):
    """A metric, its matchers as label, operator and value, and what else the expression groups by."""

    metric: str
    matchers: list[tuple[str, str, str]]
    grouped_by: set[str]


def selectors(expression: str) -> Iterator[Selector]:
    grouped = {label.strip() for labels in GROUPING.findall(expression) for label in labels.split(",")}
    for metric, inside in SELECTOR.findall(expression):
        matchers = MATCHER.findall(inside)
        assert MATCHER.sub("", inside).strip(" ,") == "", f"not understood: {{{inside}}}"
        yield Selector(metric, matchers, grouped - SCRAPED)
