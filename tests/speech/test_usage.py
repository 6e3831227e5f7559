from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from echod.journal import Journal
from echod.speech.usage import DAY, Usage, UsageRecords


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[UsageRecords]:
    journal = Journal(tmp_path / "j")
    journal.open()
    yield UsageRecords(journal)
    await journal.close()


def usage(**changes: Any) -> Usage:
    usual = {
        "at": 10 * DAY + 5, "account": "ada", "function": "speak", "backend": "local", "model": "espeak-ng",
        "outcome": "ok", "attempts": 1, "first_ms": 10, "total_ms": 20, "characters": 7, "seconds": 1.5,
    }  # fmt: skip
    return Usage(**{**usual, **changes})


async def test_sums(records: UsageRecords) -> None:
    """Calls are summed by account, day, function, backend, model and voice; only failures count as failed."""
    for call in (
        usage(),
        usage(outcome="cancelled"),
        usage(outcome="throttled", characters=0, seconds=0.0),
        usage(at=11 * DAY),
        usage(account="bob"),
        usage(function="reply", input_tokens=3, output_tokens=4, characters=0, seconds=0.0),
    ):
        await records.add(call)
    rows = await records.by_day(None, 0)
    assert [(row.account, row.day, row.function, row.calls, row.failed) for row in rows] == [
        ("ada", "1970-01-12", "speak", 1, 0),
        ("ada", "1970-01-11", "reply", 1, 0),
        ("ada", "1970-01-11", "speak", 3, 1),
        ("bob", "1970-01-11", "speak", 1, 0),
    ]
    assert rows[2].characters == 14 and rows[2].seconds == 3.0
    assert (rows[1].input_tokens, rows[1].output_tokens) == (3, 4)
    assert {row.account for row in await records.by_day("bob", 0)} == {"bob"}
    assert {row.day for row in await records.by_day(None, 11 * DAY)} == {"1970-01-12"}


async def test_voices(records: UsageRecords) -> None:
    """Who spoke is told; what was heard or replied has no voice."""
    for call in (usage(voice="en-us"), usage(voice="de"), usage(voice="de"), usage(function="hear", model="base")):
        await records.add(call)
    rows = await records.by_day(None, 0)
    assert [(row.model, row.voice, row.calls) for row in rows] == [
        ("base", None, 1),
        ("espeak-ng", "de", 2),
        ("espeak-ng", "en-us", 1),
    ]


async def test_sweep(records: UsageRecords) -> None:
    """Old records go."""
    await records.add(usage())
    await records.add(usage(at=12 * DAY))
    await records.sweep(11 * DAY)
    assert [row.day for row in await records.by_day(None, 0)] == ["1970-01-13"]
