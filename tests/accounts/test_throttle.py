"""How often something may be tried."""

from __future__ import annotations

import pytest

from echod.accounts import throttle
from echod.accounts.throttle import Throttle
from echod.errors import EchodError
from tests.stand_ins.clock import Clock


def tries(limit: Throttle, key: str, count: int) -> int:
    """How many of so many tries are let through."""
    passed = 0
    for _ in range(count):
        try:
            limit.take(key, "here")
            passed += 1
        except EchodError:
            pass
    return passed


def test_a_burst_then_a_steady_rate() -> None:
    """So many at once, then one an interval; refused ones do not put off the next."""
    clock = Clock()
    limit = Throttle(3, 10.0, clock)
    assert tries(limit, "a", 100) == 3
    clock.now += 10
    assert tries(limit, "a", 100) == 1
    clock.now += 1000
    assert tries(limit, "a", 100) == 3


def test_a_try_given_back() -> None:
    """It makes room for another one, and no more than that."""
    limit = Throttle(3, 10.0, Clock())
    assert tries(limit, "a", 3) == 3
    limit.give_back("a")
    limit.give_back("never tried")
    assert tries(limit, "a", 100) == 1
    assert tries(limit, "never tried", 100) == 3


def test_keys_have_nothing_to_do_with_one_another() -> None:
    """One who is refused holds up nobody else."""
    limit = Throttle(1, 10.0, Clock())
    assert [tries(limit, key, 2) for key in "ab"] == [1, 1]


def test_refusal_says_when() -> None:
    """The error tells what is limited and when to come back, and that is early enough and not too early."""
    clock = Clock()
    limit = Throttle(1, 10.0, clock)
    limit.take("a", "here")
    clock.now += 2.5
    with pytest.raises(EchodError, match="too many tries here; try again in 8 s") as refused:
        limit.take("a", "here")
    assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 8)
    clock.now += 8
    limit.take("a", "here")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers cannot fill memory with keys; those that are due again are forgotten first."""
    monkeypatch.setattr(throttle, "MAX_KEYS", 10)
    clock = Clock()
    limit = Throttle(1, 10.0, clock)
    for number in range(8):
        limit.take(f"old {number}", "here")
    clock.now += 11
    for number in range(8):
        limit.take(f"new {number}", "here")
    assert [tries(limit, f"new {number}", 1) for number in range(8)] == [0] * 8
    for number in range(100):
        limit.take(f"more {number}", "here")
    assert len(limit._due) <= 10
