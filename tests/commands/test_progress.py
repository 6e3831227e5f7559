from __future__ import annotations

from typing import Any

import pytest

from echod.client.client import Video
from echod.commands.progress import Progress, bar, clock, summary


def video(status: str, progress: int = 0, **extras: Any) -> Video:
    return {  # type: ignore[typeddict-item]
        "id": "video_1",
        "status": status,
        "progress": progress,
        "echod": extras,
    }


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (video("queued", queue_position=0), "queued, next"),
        (video("queued", queue_position=3), "queued, 3 before it"),
        (video("queued", queue_position=None), "queued"),
        (video("queued", stage="speak"), "queued, speak"),
        (video("in_progress"), "  0% starting"),
        (
            video("in_progress", 40, stage="decode", windows_done=12, windows_total=30, eta_s=12.4, device="cuda:1"),
            " 40% decode 12/30 windows 0:12 left on cuda:1",
        ),
        (video("in_progress", 2, stage="face", attempt=2), "  2% face (attempt 2)"),
        (
            video("in_progress", 40, stage="denoise", device="cpu", helpers=["cpu#2", "cpu#3"]),
            " 40% denoise on cpu helped by cpu#2, cpu#3",
        ),
        (video("cancelled", 40, stage=None), "cancelled"),
    ],
)
def test_summary(job: Video, words: str) -> None:
    """A job's state is told by what is known of it."""
    assert summary(job) == words


@pytest.mark.parametrize(
    ("helpers", "words"),
    [([], " 40% denoise"), (["cpu#2"], " 40% denoise on cpu + cpu#2"), (["a", "b", "c"], " 40% denoise on cpu + 3")],
)
def test_brief_summary(helpers: list[str], words: str) -> None:
    """A table names the devices of a job that has more than one, and counts those it has no room for."""
    assert summary(video("in_progress", 40, stage="denoise", device="cpu", helpers=helpers), brief=True) == words


def test_bar() -> None:
    """The bar fills with the work done, and never runs over the terminal's edge."""
    assert bar(50, "half way", 200) == "[############------------] half way"
    assert bar(100, "completed", 200) == "[########################] completed"
    assert len(bar(50, "half way", 30)) == 30


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (185, "3:05"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    """Times read like a clock."""
    assert clock(seconds) == text


def test_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose stderr is closed tells nobody, and goes on."""
    monkeypatch.setattr("sys.stderr", None)
    with Progress(quiet=False) as progress:
        progress.show(video("in_progress"))
        progress.note("hello")
