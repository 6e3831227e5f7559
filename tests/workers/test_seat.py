"""What a worker does and what its death costs, without a worker."""

from __future__ import annotations

import msgspec
import pytest

from echod.jobs.job import CONVERSATION, ClipOptions, Job
from echod.workers.messages import Prepare
from echod.workers.seat import Seat
from tests.making.jobs import job

BATCH = msgspec.structs.replace(job(), id="batch")
TALK = msgspec.structs.replace(job(), id="talk", priority=CONVERSATION)
PORTRAIT = Prepare(engine="preview", portrait="/p", portrait_sha256="p", box=None, options=ClipOptions())

IDLE = Seat(ready=True)
SENT = IDLE.reserve(BATCH).told(BATCH)
BEGUN = SENT.began("batch")
WAITING = BEGUN.reserve(TALK).told(TALK)  # for the batch job's next checkpoint
NESTED = WAITING.began("talk")


@pytest.mark.parametrize(
    ("seat", "state", "works", "owes"),
    [
        (Seat(), "starting", True, True),
        (IDLE, "idle", False, False),
        (IDLE.reserve(BATCH), "busy", False, True),
        (SENT, "busy", True, True),
        (BEGUN.reserve(TALK), "busy", True, True),
        (NESTED, "busy", True, True),
        (BEGUN.ended("batch"), "idle", False, False),
        (IDLE.prepare(PORTRAIT), "idle", True, True),
        (BEGUN.ended("batch", leaving=True), "busy", True, False),
    ],
)
def test_what_is_expected_of_it(seat: Seat, state: str, works: bool, owes: bool) -> None:
    """One whose only job is being committed need not report; one that leaves is not idle."""
    assert (seat.state, seat.works, seat.owes) == (state, works, owes)


def test_whoever_helps_is_idle_and_owes_a_sign_of_life() -> None:
    """A death while it helps is nobody's; that of a job which it has begun meanwhile is that job's."""
    helping = IDLE.help("another's")
    assert (helping.state, helping.works) == ("idle", True)
    assert helping.lost() == (None, [])
    assert helping.reserve(BATCH).told(BATCH).lost() == (None, [BATCH])
    begun = helping.reserve(BATCH).told(BATCH).began("batch")
    assert begun.lost() == (BATCH, [])
    assert begun.ended("batch") == helping
    assert begun.helped(1, over=True).helping is None
    assert helping.helped(1, over=True) == IDLE
    assert helping.helped(1, over=False).helping


def test_what_it_was_told_is_the_committed_attempt() -> None:
    """The job that was taken from the queue gives way to its next attempt."""
    attempt = msgspec.structs.replace(BATCH, status="in_progress", attempt=1)
    assert IDLE.reserve(BATCH).told(attempt).running is attempt


@pytest.mark.parametrize(
    ("seat", "interruptible"),
    [
        (IDLE, False),
        (IDLE.reserve(BATCH), False),
        (SENT, True),
        (BEGUN, True),
        (IDLE.reserve(TALK).told(TALK), False),
        (NESTED, False),
        (NESTED.ended("talk"), True),
        (BEGUN.ended("batch", leaving=True), False),
    ],
)
def test_a_conversation_job_goes_on_top(seat: Seat, interruptible: bool) -> None:
    """Of one batch job that was sent, and of nothing else."""
    assert seat.interruptible == interruptible


def test_the_job_below_goes_on() -> None:
    """When the job on top has ended, also if it was never sent, all is as before."""
    assert NESTED.ended("talk") == BEGUN
    assert BEGUN.reserve(TALK).ended("talk") == BEGUN


def test_the_job_below_ends_first() -> None:
    """A batch job that ends before the conversation job arrives leaves that one alone on the worker."""
    assert WAITING.ended("batch") == IDLE.reserve(TALK).told(TALK)
    assert WAITING.ended("batch").ended("talk") == IDLE


@pytest.mark.parametrize("seat", [Seat(), IDLE, SENT, BEGUN, NESTED])
def test_what_does_not_concern_it(seat: Seat) -> None:
    """News of a job that it does not hold changes nothing, nor that a portrait is warm which it was not preparing."""
    assert seat.began("other") is seat.ended("other") is seat.ended("other", leaving=True) is seat.warm() is seat
    assert not seat.holds("other")


def test_what_it_holds() -> None:
    """The job on top and the one below, sent or not."""
    seat = BEGUN.reserve(TALK)
    assert seat.holds("talk") and seat.holds("batch")
    assert not seat.ended("talk").holds("talk")


@pytest.mark.parametrize(
    ("seat", "blamed", "others"),
    [
        (Seat(), None, []),
        (IDLE, None, []),
        (IDLE.reserve(BATCH), None, []),
        (SENT, BATCH, []),  # it may have died at the first byte of it
        (BEGUN, BATCH, []),
        (BEGUN.reserve(TALK), BATCH, []),
        (WAITING, BATCH, [TALK]),
        (NESTED, TALK, [BATCH]),
        (NESTED.ended("talk"), BATCH, []),
        (WAITING.ended("batch"), TALK, []),
        (BEGUN.ended("batch", leaving=True), None, []),
        (NESTED.ended("talk", leaving=True), None, [BATCH]),
        (WAITING.ended("talk", leaving=True), BATCH, []),
        (IDLE.prepare(PORTRAIT), None, []),
        (IDLE.prepare(PORTRAIT).reserve(BATCH), None, []),
        (IDLE.prepare(PORTRAIT).reserve(BATCH).told(BATCH), None, [BATCH]),
        (IDLE.prepare(PORTRAIT).reserve(BATCH).told(BATCH).reserve(TALK).told(TALK), None, [BATCH, TALK]),
        (BEGUN.prepare(PORTRAIT).warm(), BATCH, []),
    ],
)
def test_what_its_death_costs(seat: Seat, blamed: Job | None, others: list[Job]) -> None:
    """The job that ran is blamed, not one that waits below or on top, nor any behind a portrait being prepared."""
    assert seat.lost() == (blamed, others)


def test_portraits() -> None:
    """One is prepared at a time, and remembered whatever runs meanwhile."""
    seat = IDLE.prepare(PORTRAIT).reserve(BATCH).told(BATCH)
    assert (seat.preparing, seat.warm().preparing) == (PORTRAIT, None)
    assert seat.warm().ended("batch") == Seat(ready=True, prepared=frozenset({PORTRAIT}))
