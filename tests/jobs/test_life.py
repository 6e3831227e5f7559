from __future__ import annotations

import pytest

from echod.jobs import life
from echod.jobs.job import JobFailure
from echod.jobs.life import advance
from tests.making.jobs import after, job, running

DONE = life.Done(attempt=1, frames=24, crop=(0, 0, 8, 8), faces=1, timings_ms={"total": 5})


def failed(attempt: int, *, transient: bool = False, code: str = "internal") -> life.Failed:
    return life.Failed(attempt=attempt, code=code, message="broke", transient=transient)


def lost(attempt: int, *, stalled: bool = False) -> life.Lost:
    return life.Lost(attempt, stalled, "cpu killed by SIGKILL")


def test_dispatch_counts_attempts() -> None:
    """Every dispatch is a new attempt, with a device and a start of its own."""
    first = running()
    assert (first.status, first.attempt, first.device, first.started_at) == ("in_progress", 1, "cpu", 200.0)
    again = advance(after(first, lost(1)), life.Dispatched("cuda:1"), 300.0)
    assert (again.attempt, again.device, again.started_at) == (2, "cuda:1", 300.0)


def test_completes() -> None:
    """Done ends the job with what was made."""
    done = after(running(), DONE)
    assert (done.status, done.progress, done.frames, done.finished_at) == ("completed", 1.0, 24, 200.0)


@pytest.mark.parametrize("event", [DONE, failed(1), lost(1), life.Requeued(1), life.FirstFrame(1)])
def test_stale_attempt_changes_nothing(event: life.Event) -> None:
    """An event of an earlier attempt is dropped."""
    second = after(running(), lost(1), life.Dispatched("cpu", "bfloat16", "taesd"))
    assert (running().dtype, second.dtype, second.approximation) == (None, "bfloat16", "taesd")
    assert advance(second, event, 300.0) is second


@pytest.mark.parametrize("end", [DONE, failed(1), life.Cancelled()])
@pytest.mark.parametrize("late", [DONE, failed(1), life.Cancelled(), lost(1), life.CancelRequested()])
def test_ends_once(end: life.Event, late: life.Event) -> None:
    """Nothing changes a job that has ended."""
    ended = after(running(), end)
    assert ended.terminal
    assert advance(ended, late, 300.0) is ended


def test_progress_never_goes_back_within_an_attempt() -> None:
    """Progress is monotone, and below 1 until the clip is published."""
    moved = after(
        running(),
        life.Progressed(attempt=1, stage="decode", progress=0.5),
        life.Progressed(attempt=1, stage="decode", progress=0.4),
    )
    assert moved.progress == 0.5
    assert after(moved, life.Progressed(attempt=1, stage="mux", progress=1.0)).progress < 1.0


def told(attempt: int, progress: float, done: int = 0, total: int = 10) -> life.Progressed:
    return life.Progressed(attempt=attempt, stage="denoise", progress=progress, windows_done=done, windows_total=total)


@pytest.mark.parametrize("end", [lost(1), life.Requeued(1), failed(1, transient=True)])
def test_progress_never_goes_back_through_a_resume(end: life.Event) -> None:
    """An attempt that goes on where another was shows what that one had until it has more; what is left is its own."""
    waits = after(running(), told(1, 0.03), told(1, 0.6, 7), end)
    begins = after(waits, life.Dispatched("cuda:1"), told(2, 0.01, total=0))
    goes_on = after(begins, told(2, 0.5, 6))
    assert [each.progress for each in (waits, begins, goes_on, after(goes_on, told(2, 0.7, 8)))] == [
        0.6, 0.6, 0.6, 0.7,
    ]  # fmt: skip
    assert (goes_on.windows_resumed, goes_on.share_resumed, goes_on.share) == (6, 0.5, 0.5)


def test_progress_of_an_attempt_that_begins_anew() -> None:
    """What an earlier attempt had counts until this one says that none of it is there."""
    begins = after(running(), told(1, 0.03), told(1, 0.6, 7), lost(1), life.Dispatched("cpu"), told(2, 0.01, total=0))
    anew = after(begins, told(2, 0.03))
    assert (begins.progress, anew.progress, anew.windows_resumed, anew.share_resumed) == (0.6, 0.03, 0, 0.0)


def test_transient_exceptions_get_three_attempts() -> None:
    """The third transient exception fails the job with its own message."""
    second = after(running(), failed(1, transient=True))
    assert second.status == "queued"
    third = after(second, life.Dispatched("cpu"), failed(2, transient=True), life.Dispatched("cpu"))
    assert third.attempt == 3
    end = after(third, failed(3, transient=True))
    assert (end.status, end.error) == ("failed", JobFailure("internal", "broke"))


def test_input_errors_are_never_retried() -> None:
    """What the caller gave is as wrong the second time."""
    assert after(running(), failed(1, code="no_face_detected")).status == "failed"


def test_out_of_memory_is_retried_once() -> None:
    """Memory may be free the second time; then it is the job's own size."""
    again = after(running(), failed(1, code="out_of_memory"))
    assert again.status == "queued"
    end = after(again, life.Dispatched("cpu"), failed(2, code="out_of_memory"))
    assert end.error is not None
    assert end.error.code == "out_of_memory"


@pytest.mark.parametrize(("stalled", "code"), [(False, "poison"), (True, "stalled")])
def test_second_death_ends_the_job(stalled: bool, code: str) -> None:
    """A worker's death queues the job once; after the second the code says how it died."""
    again = after(running(), lost(1))
    assert (again.status, again.deaths) == ("queued", 1)
    end = after(again, life.Dispatched("cpu"), lost(2, stalled=stalled))
    assert end.error is not None
    assert (end.status, end.error.code) == ("failed", code)


def test_requeued_counts_as_no_death() -> None:
    """Suspended under a death, drained, or left by a dead daemon: any number of times is nobody's fault."""
    again = job()
    for attempt in range(1, 6):
        again = after(again, life.Dispatched("cpu"), life.Requeued(attempt))
    assert (again.status, again.deaths, again.attempt) == ("queued", 0, 5)


@pytest.mark.parametrize("event", [lost(1), life.Requeued(1), failed(1, transient=True)])
def test_cancel_wins_over_another_attempt(event: life.Event) -> None:
    """A job whose end somebody asked for is not run again."""
    end = after(running(), life.CancelRequested(), event)
    assert end.status == "cancelled"


def test_cancels_while_queued() -> None:
    """A queued job ends at once."""
    assert after(job(), life.Cancelled()).status == "cancelled"


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        (None, None),
        (" \n", None),
        ("Good\n evening.", "Good evening."),
        ("word " * 40, "word " * 14 + "word…"),
        ("字" * 100, "字" * 79 + "…"),
        ("Ah: " * 30, "Ah: " * 18 + "Ah…"),
    ],
)
def test_called_by_its_first_words(prompt: str | None, title: str | None) -> None:
    """A clip without a title is called by as many of its first words as fit a line."""
    assert job(prompt=prompt).title == title
