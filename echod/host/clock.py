"""What time it is for what expires.

A time of day that is wrong by years makes everything look expired at once, and what is deleted by it does not come back
when the clock is right again. The machine knows better, as long as it runs: it counts the seconds since it was switched
on, and nobody can set that. So a clock that has been set forward is taken at its word after a day only.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

log = logging.getLogger("echod.clock")

STEP = 300.0  # seconds that a clock may be set forward without a question: networks correct it by less
GRACE = 86400.0  # seconds after which it is believed
AWAY = 30 * 86400.0  # seconds a machine may have been off without one

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Seconds, also those that the machine was asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def this_boot() -> int:
    """A number for the present run of the machine; 62 bits."""
    return uuid.UUID(BOOT_ID.read_text().strip()).int >> 66


class TrustedTime:
    """Seconds since the epoch: `clock`'s, unless it was set forward not long ago. Never ahead of it.

    `known` is what `counters` gave before a restart.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = since_boot,
        *,
        boot: int | None = None,
        known: Mapping[str, int] | None = None,
    ) -> None:
        self._clock = clock
        self._ticks = ticks
        self._boot = this_boot() if boot is None else boot
        self._doubted: float | None = None  # since when, in ticks
        self._offset = clock() - ticks()  # between ticks and the time of day
        if known and "trusted_time" in known:
            self._go_on(known["trusted_time"], known["trusted_ticks"], known["trusted_boot"])

    def _go_on(self, before: float, ticks: float, boot: int) -> None:
        now = self._ticks()
        if boot == self._boot and ticks <= now:
            self._offset = before - ticks
        elif self._clock() > before + AWAY:  # the machine was off for that long, or its clock is wrong
            self._offset = before - now

    def __call__(self) -> float:
        ticks, now = self._ticks(), self._clock()
        expected = ticks + self._offset
        if now <= expected + STEP:  # if it was set back, nothing expires before its time
            if self._doubted is not None:
                log.warning("the clock was set back: what has expired is removed again")
            return self._believe(now, ticks)
        if self._doubted is None:
            self._doubted = ticks
            log.warning(
                "the clock was set forward by %.1f days: nothing is removed for its age until it was right for a day, "
                "or is set back", (now - expected) / 86400
            )  # fmt: skip
        if ticks >= self._doubted + GRACE:
            log.warning("the clock that was set forward is taken to be right")
            return self._believe(now, ticks)
        return expected

    def _believe(self, now: float, ticks: float) -> float:
        self._offset, self._doubted = now - ticks, None
        return now

    def counters(self) -> dict[str, int]:
        """What to remember over a restart."""
        return {"trusted_time": int(self()), "trusted_ticks": int(self._ticks()), "trusted_boot": self._boot}
