"""How often passwords may be tried, and by whom."""

from __future__ import annotations

import pytest

from echod.accounts.logins import BY_STRANGERS_FOR_ACCOUNT, MAX_ADDRESSES, LoginLimits
from echod.errors import EchodError
from tests.stand_ins.clock import Clock

DAY = 86400.0


class Wrong(Exception):
    """The password was."""


def tries(limits: LoginLimits, name: str, peer: str, count: int = 1, *, right: bool = False) -> int:
    """How many of so many tries are looked at."""
    looked_at = 0
    for _ in range(count):
        try:
            with limits.trying(name, peer):
                looked_at += 1
                if not right:
                    raise Wrong
        except (Wrong, EchodError):
            pass
    return looked_at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> LoginLimits:
    return LoginLimits(clock)


def test_one_who_guesses_elsewhere_locks_nobody_out(limits: LoginLimits) -> None:
    """A dozen wrong passwords, or a thousand, from an address are that address's own affair."""
    assert tries(limits, "anna", "far away", 12) == 10
    assert tries(limits, "anna", "home", right=True) == 1
    assert tries(limits, "anna", "far away", 1000) == 0
    assert tries(limits, "anna", "elsewhere", right=True) == 1


def test_many_who_guess_lock_nobody_out_who_has_been_there(limits: LoginLimits) -> None:
    """From where the account was signed in, it still can be; from elsewhere not before the guessing ends."""
    assert tries(limits, "anna", "home", right=True) == 1
    assert sum(tries(limits, "anna", f"far {number}", 10) for number in range(50)) == BY_STRANGERS_FOR_ACCOUNT[0]
    assert tries(limits, "anna", "home", right=True) == 1
    with (
        pytest.raises(EchodError, match="addresses that it has not been signed in from") as refused,
        limits.trying("anna", "elsewhere"),
    ):
        pass
    assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 6)
    assert tries(limits, "bert", "elsewhere", right=True) == 1


def test_guessing_from_many_addresses_is_bounded(limits: LoginLimits, clock: Clock) -> None:
    """A million addresses guess no more often than a hundred."""
    burst, interval = BY_STRANGERS_FOR_ACCOUNT
    looked_at, begun, number = 0, clock.now, 0
    while clock.now < begun + DAY / 24:
        number += 1
        looked_at += tries(limits, "anna", f"far {number}")
        clock.now += 0.5
    assert number == 7200
    assert looked_at <= burst + DAY / 24 / interval + 1


def test_an_address_that_was_signed_in_from_may_guess_no_more_often(limits: LoginLimits) -> None:
    """It has the limit of one address for one account like any other, and that of one address."""
    assert tries(limits, "anna", "home", right=True) == 1
    assert tries(limits, "anna", "home", 10) == 9
    assert tries(limits, "bert", "home", 100) == 20 - 11
    assert tries(limits, "cleo", "home", 100) == 0


def test_right_tries_are_no_guesses(limits: LoginLimits, clock: Clock) -> None:
    """Whoever signs in from ever new addresses uses up nothing that others need."""
    assert [tries(limits, "anna", f"train {number}", right=True) for number in range(300)] == [1] * 300
    assert sum(tries(limits, "anna", f"far {number}") for number in range(300)) == BY_STRANGERS_FOR_ACCOUNT[0]


def test_names_of_nobody_are_limited_alike(limits: LoginLimits) -> None:
    """What is refused does not tell whether there is such an account."""
    told = []
    for name in ("anna", "nobody"):
        with pytest.raises(EchodError) as refused:
            for number in range(1000):
                with pytest.raises(Wrong), limits.trying(name, f"{name} {number}"):
                    raise Wrong
        told.append((number, refused.value.message))
    assert told[0] == told[1]


def test_a_new_password_makes_strangers_of_all(limits: LoginLimits) -> None:
    """Who knew the old one may have been somebody else."""
    assert tries(limits, "anna", "home", right=True) == 1
    limits.forget("anna")
    assert sum(tries(limits, "anna", f"far {number}") for number in range(300)) == BY_STRANGERS_FOR_ACCOUNT[0]
    assert tries(limits, "anna", "home") == 0


def test_addresses_are_remembered_up_to_a_number(limits: LoginLimits) -> None:
    """The latest ones stay."""
    for number in range(MAX_ADDRESSES + 1):
        assert tries(limits, "anna", f"train {number}", right=True) == 1
    assert sum(tries(limits, "anna", f"far {number}") for number in range(300)) == BY_STRANGERS_FOR_ACCOUNT[0]
    assert tries(limits, "anna", f"train {MAX_ADDRESSES}") == 1
    assert tries(limits, "anna", "train 1") == 1
    assert tries(limits, "anna", "train 0") == 0
