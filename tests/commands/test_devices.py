from __future__ import annotations

from typing import Any

import pytest

from echod.commands.devices import can_help, of_cluster


def states(**numbers: str) -> list[dict[str, Any]]:
    return [
        {
            "device": name,
            "numbers": {"echomimic": given} if given else {},
            "helps": [other for other in numbers if other != name and given and numbers[other] == given],
        }
        for name, given in numbers.items()
    ]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"a": "H100"}, ["-"]),
        ({"a": "", "b": ""}, ["-", "-"]),
        ({"a": "H100", "b": "H100"}, ["b", "a"]),
        ({"a": "H100", "b": "A100"}, ["nobody: other numbers than b", "nobody: other numbers than a"]),
        ({"a": "H100", "b": "H100", "c": "A100"}, ["b", "a", "nobody: other numbers than a, b"]),
        ({"a": "H100", "b": "H100", "c": "H100", "d": "H100"}, ["all others"] * 4),
    ],
)
def test_who_can_help_whom(numbers: dict[str, str], words: list[str]) -> None:
    """Devices with the same numbers help each other; who has others is told whose; the preview is no matter of help."""
    rows = states(**numbers)
    assert [can_help(row, rows) for row in rows] == words


@pytest.mark.parametrize(
    ("problem", "first"),
    [(None, "cluster auto, Ray 2.60.0: reached"), ("does not answer", "cluster auto, Ray 2.60.0: does not answer")],
)
def test_the_cluster(problem: str | None, first: str) -> None:
    """Whether it can be reached, and its nodes with what each has."""
    nodes = [{"name": "box-1", "state": "draining", "gpus": 8, "cpus": 64}]
    cluster = {"address": "auto", "version": "2.60.0", "problem": problem, "nodes": nodes}
    assert list(of_cluster(cluster)) == [first, "NODE   STATE     GPUS  CPUS", "box-1  draining  8     64"]
