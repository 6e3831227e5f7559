"""How often something may be tried: a few times at once, then at a steady rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from echod.errors import EchodError

MAX_KEYS = 10_000  # remembered at once; keys come from strangers


class Throttle:
    """For each key `burst` tries at once, then one every `interval` seconds (GCRA, ITU-T I.371)."""

    def __init__(self, burst: int, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._slack = (burst - 1) * interval
        self._interval = interval
        self._clock = clock
        self._due: dict[str, float] = {}  # when a key's tries so far would have come at the steady rate

    def take(self, key: str, what: str) -> None:
        """Count a try. Raises EchodError rate_limited, naming `what`, if it comes too early."""
        now = self._clock()
        due = max(now, self._due.pop(key, now))
        early = due - now - self._slack
        if early > 0:
            self._due[key] = due
            seconds = math.ceil(early)
            raise EchodError("rate_limited", f"too many tries {what}; try again in {seconds} s", retry_after=seconds)
        self._due[key] = due + self._interval
        if len(self._due) > MAX_KEYS:
            self._forget(now)

    def give_back(self, key: str) -> None:
        """A try that was let through is not to count after all."""
        if key in self._due:
            self._due[key] -= self._interval

    def _forget(self, now: float) -> None:
        self._due = {key: due for key, due in self._due.items() if due > now}
        while len(self._due) > MAX_KEYS:
            del self._due[next(iter(self._due))]
