"""What a face does by itself: blinks, and a head that is never quite still. Depends on seed and time alone."""

from __future__ import annotations

import numpy as np

BLINK_SECONDS = 0.3
BLINK_PAUSE = (2.0, 5.5)  # seconds between two blinks
SWAY_PERIODS = np.array([3.1, 4.7, 7.3])  # seconds


class Motion:
    """Blinks and sway over a clip."""

    def __init__(self, seed: int, seconds: float) -> None:
        random = np.random.default_rng(seed)
        count = int(seconds / BLINK_PAUSE[0]) + 2
        self._blinks = np.cumsum(random.uniform(*BLINK_PAUSE, count)) - BLINK_PAUSE[0] / 2
        self._phases = random.uniform(0, 2 * np.pi, (3, len(SWAY_PERIODS)))

    def lids(self, time: float) -> float:
        """How far the lids are closed, 0..1: down faster than up."""
        since = time - self._blinks[np.searchsorted(self._blinks, time, side="right") - 1]
        if not 0 <= since < BLINK_SECONDS:
            return 0.0
        phase = since / BLINK_SECONDS
        return float(np.interp(phase, (0, 0.3, 0.45, 1), (0, 1, 1, 0)))

    def sway(self, time: float) -> tuple[float, float, float]:
        """Shift along and down the face, and roll: each -1..1."""
        x, y, roll = np.sin(2 * np.pi * time / SWAY_PERIODS + self._phases).mean(axis=1)
        return float(x), float(y), float(roll)
