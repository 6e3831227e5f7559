from __future__ import annotations

import time
from typing import Any, cast

import pytest
from wcwidth import width

from echod.client.client import Video
from echod.commands.overview import Overview, job_table, short_id


def video(number: int, status: str = "in_progress", **extras: Any) -> Video:
    return {
        "id": f"video_{number:08x}{0:024x}", "status": cast(Any, status), "model": "preview", "progress": 40,
        "created_at": int(time.time()), "completed_at": None, "expires_at": None, "size": "512x512", "seconds": "12.30",
        "error": {"code": "poison", "message": "died"} if status == "failed" else None,
        "echod": {"title": f"title {number}", "stage": "decode", "eta_s": 12.0, "account": "local"} | cast(Any, extras),
    }  # fmt: skip


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_table_fits(columns: int) -> None:
    """However long titles are, and however wide their characters, a line of the table fits, and the state is in it."""
    videos = [
        video(1, title="今天天气很好，" * 20, account="a-very-long-name-of-somebody"),
        video(2, "failed", title="x" * 200),
        video(3, "queued", queue_position=12, stage=None, title=None),
    ]
    head, *lines = job_table(videos, columns)
    assert all(width(line) <= columns for line in lines)
    assert head.split() == ["ID", "TITLE", "ACCOUNT", "LENGTH", "AGE", "STATE"]
    if columns >= 80:
        assert lines[0].endswith("40% decode 0:12 left") and "…" in lines[0]
        assert lines[1].endswith("failed: poison")
        assert lines[2].endswith("queued, 12 before it")


def test_columns_of_a_pipe() -> None:
    """Nothing is cut there, and accounts are left out where there are none."""
    head, line = job_table([video(1, title="x" * 200)], None)
    assert "x" * 200 in line and "ACCOUNT" not in head


def test_columns_stand_under_each_other() -> None:
    """A Chinese character takes the place of two others."""
    head, *lines = job_table([video(1, title="天气"), video(2, title="abcd")], None)
    assert {width(line[: line.index("0:12")]) for line in lines} == {width(head[: head.index("LENGTH")])}


def test_lines_change_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    """A job that goes on redraws its line; one that has ended stays above those that go on."""
    overview = Overview()
    for each in (video(1), video(2), video(1) | {"progress": 50}, video(1, "completed"), video(2, "cancelled")):
        overview.show(each)
    shown = screen(capsys.readouterr().out)
    assert [line.split()[0] for line in shown] == [short_id(video(1)), short_id(video(2))]
    assert [line.split()[-1] for line in shown] == ["completed", "cancelled"]


def screen(text: str) -> list[str]:
    """What a terminal would show of it."""
    first, *redrawn = text.replace("\x1b[J", "").split("\x1b[")
    lines = first.splitlines()
    for part in redrawn:
        up, _, rest = part.partition("A")
        lines[-int(up) :] = rest.splitlines()
    return lines
