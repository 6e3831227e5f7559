"""A clock that is set forward makes nothing expire at once; one that is right in the end does."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping

import pytest

from echod.host.clock import AWAY, GRACE, STEP, TrustedTime, since_boot, this_boot

DAY = 86400.0
NOW = 1.8e9


class Machine:
    """Its clock can be set; the seconds since it was switched on cannot."""

    def __init__(self) -> None:
        self.ticks = 1000.0
        self.set_by = NOW
        self.boot = 7

    def clock(self) -> float:
        return self.set_by + self.ticks

    def start(self, known: Mapping[str, int] | None = None) -> TrustedTime:
        return TrustedTime(self.clock, lambda: self.ticks, boot=self.boot, known=known)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_time_goes_by(machine: Machine) -> None:
    """Left alone, or corrected a little now and then, it is the clock's own."""
    trusted, dice = machine.start(), random.Random(1)
    for _ in range(1000):
        machine.ticks += dice.uniform(0, 10 * DAY)
        machine.set_by += dice.uniform(-STEP, STEP)
        assert trusted() == machine.clock()


@pytest.mark.parametrize("step", [2 * STEP, 8 * 3600.0, 8 * DAY, 3650 * DAY])
def test_set_forward(machine: Machine, step: float, caplog: pytest.LogCaptureFixture) -> None:
    """For a day time goes on as before, with a line of the log; then the clock is believed."""
    trusted = machine.start()
    before = machine.clock()
    machine.set_by += step
    for hour in range(24):
        assert trusted() == before + 3600 * hour
        machine.ticks += 3600
    assert trusted() == machine.clock()
    machine.ticks += DAY
    assert trusted() == machine.clock()
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        f"the clock was set forward by {step / DAY:.1f} days",
        "the clock that was set forward is taken to be right",
    ]


def test_set_forward_and_back(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake that is corrected within a day has no consequence, and the next one has its own day."""
    trusted = machine.start()
    for _ in range(3):
        machine.set_by += 3650 * DAY
        before = trusted()
        machine.ticks += GRACE - 1
        assert trusted() == before + GRACE - 1
        machine.set_by -= 3650 * DAY
        assert trusted() == machine.clock()
    assert len(caplog.records) == 6


def test_set_back(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """It is believed at once, so that what is made from then on does not expire before its time."""
    trusted = machine.start()
    machine.set_by -= 3650 * DAY
    assert trusted() == machine.clock()
    machine.set_by += 3650 * DAY  # the correction of a mistake is a step forward like any
    assert trusted() < machine.clock()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_forward_again_and_again(machine: Machine) -> None:
    """A second step in the first one's day is in doubt no longer than the first."""
    trusted = machine.start()
    machine.set_by += 10 * DAY
    before = trusted()
    machine.ticks += GRACE / 2
    machine.set_by += 10 * DAY
    assert trusted() == before + GRACE / 2
    machine.ticks += GRACE / 2
    assert trusted() == machine.clock()


def test_restart_of_the_daemon(machine: Machine) -> None:
    """The next one knows that the clock was set while it was away: the machine has run on."""
    known = machine.start().counters()
    machine.ticks += 5 * DAY
    assert machine.start(known)() == machine.clock()
    before = machine.clock()
    machine.set_by += 20 * DAY
    again = machine.start(known)
    assert again() == pytest.approx(before, abs=2)
    known = again.counters()
    assert machine.start(known)() == pytest.approx(before, abs=4)


@pytest.mark.parametrize(
    ("off", "doubted"), [(DAY, False), (AWAY - DAY, False), (AWAY + DAY, True), (3650 * DAY, True)]
)
def test_restart_of_the_machine(machine: Machine, off: float, doubted: bool) -> None:
    """How long it was off, only its clock says: months and years wait for a day."""
    known = machine.start().counters()
    before = machine.clock()
    machine.boot += 1
    machine.set_by, machine.ticks = machine.clock() + off - 30, 30.0
    trusted = machine.start(known)
    assert trusted() == (pytest.approx(before, abs=2) if doubted else machine.clock())
    machine.ticks += GRACE
    assert trusted() == machine.clock()


def test_never_ahead_of_the_clock(machine: Machine) -> None:
    """Whatever happens, nothing expires that the clock does not say has expired."""
    dice = random.Random(2)
    trusted = machine.start()
    for _ in range(5000):
        match dice.randrange(8):
            case 0:
                machine.set_by += dice.uniform(-1, 1) * 10 ** dice.uniform(0, 9)
            case 1:
                trusted = machine.start(trusted.counters())
            case 2:
                known = trusted.counters()
                machine.boot += 1
                machine.set_by, machine.ticks = machine.clock() - 10, 10.0
                trusted = machine.start(known)
            case _:
                machine.ticks += dice.uniform(0, DAY)
        assert trusted() <= machine.clock()


def test_this_machine() -> None:
    """Its seconds go by, and its run has a number that SQLite can keep."""
    first = since_boot()
    assert first <= since_boot() < first + 60
    assert 0 <= this_boot() == this_boot() < 2**62
