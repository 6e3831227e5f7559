"""What a face does by itself: blinks, and a head that is never quite still. Depends on seed and time alone.

It begins and ends at rest, so that the clips of an answer follow one another without a jump.
"""

from __future__ import annotations

import numpy as np

from .geometry import smoothstep

BLINK_SECONDS = 0.3
BLINK_PAUSE = (2.0, 5.5)  # seconds between two blinks
SWAY_PERIODS = np.array([3.1, 4.7, 7.3])  # seconds
HEAD_REST, MOUTH_REST = 0.5, 0.08  # seconds from rest to full motion, and back


class Motion:
    """Blinks and sway over a clip whose last frame is shown at `end`, in seconds."""

    def __init__(self, seed: int, end: float) -> None:
        random = np.random.default_rng(seed)
        count = int(end / BLINK_PAUSE[0]) + 2
        self._end = end
        self._blinks = np.cumsum(random.uniform(*BLINK_PAUSE, count)) - BLINK_PAUSE[0] / 2
        self._phases = random.uniform(0, 2 * np.pi, (3, len(SWAY_PERIODS)))

    def lids(self, time: float) -> float:
        """How far the lids are closed, 0..1: down faster than up."""
        began = self._blinks[np.searchsorted(self._blinks, time, side="right") - 1]
        since = time - began
        if not 0 <= since < BLINK_SECONDS or began + BLINK_SECONDS > self._end:
            return 0.0
        phase = since / BLINK_SECONDS
        return float(np.interp(phase, (0, 0.3, 0.45, 1), (0, 1, 1, 0)))

    def sway(self, time: float) -> tuple[float, float, float]:
        """Shift along and down the face, and roll: each -1..1."""
        x, y, roll = np.sin(2 * np.pi * time / SWAY_PERIODS + self._phases).mean(axis=1) * self._ease(time, HEAD_REST)
        return float(x), float(y), float(roll)

    def mouth(self, time: float) -> float:
        """How far the mouth follows the speech, 0..1."""
        return self._ease(time, MOUTH_REST)

    def _ease(self, time: float, rest: float) -> float:
        """0 at either end of the clip, 1 where both are at least `rest` away."""
        return float(smoothstep(np.asarray(min(time, self._end - time)), 0, rest))
