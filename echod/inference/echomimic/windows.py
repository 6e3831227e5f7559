"""Which frames each window covers at each step, and an order that finishes the earliest frames first.

Pure index arithmetic. The clip is a closed loop: the last windows wrap around to its beginning, and at every step all
windows move on by two frames. Within a step windows do not depend on each other; a window needs its own frames only,
from the step before. So instead of step by step the calls may run as a wavefront, and give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol, TypeAlias

from ..errors import InputError
from .config import MAX_WINDOW, OVERLAP, ROTATION, WINDOW

Call: TypeAlias = tuple[int, int]  # step, window


@dataclass(frozen=True)
class Plan:
    """All window calls of a clip: `frames` N, `steps`, frames of a `window`, and how many two neighbours share.

    Raises InputError (invalid_request).
    """

    frames: int
    steps: int
    window: int = WINDOW
    overlap: int = OVERLAP

    def __post_init__(self) -> None:
        wrong = ""
        if not 2 <= self.window <= MAX_WINDOW:
            wrong = f"window {self.window} cannot be used: it must be 2 to {MAX_WINDOW} frames"
        elif not 0 <= self.overlap < self.window:
            wrong = f"overlap {self.overlap} cannot be used: it must be 0 to {self.window - 1} (window - 1)"
        elif self.frames < 1 or self.steps < 1:
            wrong = f"{self.frames} frames in {self.steps} steps cannot be made: both must be at least 1"
        if wrong:
            raise InputError("invalid_request", wrong)

    @property
    def stride(self) -> int:
        """Frames from one window's start to the next one's."""
        return self.window - self.overlap

    @property
    def windows(self) -> int:
        """Windows of one step."""
        return 1 if self.frames <= self.window else -(-self.frames // self.stride)

    @property
    def calls(self) -> int:
        return self.steps * self.windows

    def number(self, call: Call) -> int:
        """Its place among all calls, step by step."""
        return call[0] * self.windows + call[1]

    def covered(self, call: Call) -> list[int]:
        """The frames of a window at a step, in the window's order."""
        step, window = call
        first = window * self.stride + ROTATION * step
        return [(first + i) % self.frames for i in range(min(self.window, self.frames))]

    def covering(self, step: int, frame: int) -> list[Call]:
        """The calls of a step that cover a frame, ascending."""
        if self.frames <= self.window:
            return [(step, 0)]
        place = (frame - ROTATION * step) % self.frames
        return [(step, window) for window in sorted({*self._over(place), *self._over(place + self.frames)})]

    def needs(self, call: Call) -> list[Call]:
        """The calls of the step before that its frames come from, ascending."""
        step, _ = call
        frames = self.covered(call) if step else ()
        return sorted({earlier for frame in frames for earlier in self.covering(step - 1, frame)})

    def _over(self, place: int) -> range:
        """Windows whose start is at most a window before `place`, on a line rather than a loop."""
        first = max(0, -(-(place - self.window + 1) // self.stride))
        return range(first, min(place // self.stride, self.windows - 1) + 1)


class Flags(Protocol):
    """True where a call is done, by its number."""

    def __getitem__(self, number: int, /) -> Any: ...


class Agenda:
    """What can be computed next, and what comes of it, when calls are done by many and in any order.

    What is `done` is never taken back.
    """

    def __init__(self, plan: Plan, order: Callable[[Plan], Iterator[Call]]) -> None:
        self.plan = plan
        self.covering, self._needs = lru_cache(maxsize=4096)(plan.covering), lru_cache(maxsize=4096)(plan.needs)
        self._calls = list(order(plan))
        self._first = 0  # all before are done

    def ready(self, done: Flags) -> Iterator[Call]:
        """Calls that are not done and lack nothing, in the order of all."""
        number = self.plan.number
        while self._first < len(self._calls) and done[number(self._calls[self._first])]:
            self._first += 1
        for call in islice(self._calls, self._first, None):
            if not done[number(call)] and all(done[number(earlier)] for earlier in self._needs(call)):
                yield call

    def moved(self, call: Call, done: Flags) -> list[int]:
        """The frames that take their step with this call: of no other window that covers them it is missing."""
        return [
            frame
            for frame in self.plan.covered(call)
            if all(other == call or done[self.plan.number(other)] for other in self.covering(call[0], frame))
        ]


def wavefront(plan: Plan) -> Iterator[Call]:
    """All calls, such that frame 0 is final as early as it can be, then frame 1, and so on."""
    done: set[Call] = set()
    for frame in range(plan.frames):
        calls = _missing(plan, frame, done)
        done.update(calls)
        yield from calls


def cheapest(wanted: int, steps: int, window: int, overlap: int, first: int) -> Plan:
    """The plan that shows so many frames with the fewest calls, and of such the one whose `first` frames come soonest.

    It may have more frames than are shown: where the loop closes in the middle of a window, the first frames wait for
    more of the last ones.
    """
    plan = Plan(wanted, steps, window, overlap)
    longest = plan.windows * plan.stride if plan.windows > 1 else wanted
    plans = (replace(plan, frames=frames) for frames in range(wanted, longest + 1))
    return min(plans, key=lambda plan: calls_before(plan, first))


def calls_before(plan: Plan, frames: int) -> int:
    """How many calls must run before the first `frames` are final."""
    done: set[Call] = set()
    for frame in range(min(frames, plan.frames)):
        done.update(_missing(plan, frame, done))
    return len(done)


def _missing(plan: Plan, frame: int, done: set[Call]) -> list[Call]:
    """The calls that must still run before a frame is final, in an order in which they can."""
    needed, levels = {frame}, []
    for step in reversed(range(plan.steps)):
        levels.append(sorted({call for each in needed for call in plan.covering(step, each)} - done))
        needed = {f for call in levels[-1] for f in plan.covered(call)}
    return [call for level in reversed(levels) for call in level]
