"""What a face does by itself: blinks, and a head that is never quite still. Depends on seed and speech alone.

It begins and ends at rest, so that the clips of an answer follow one another without a jump. Where the speech of one
goes on in the next, the mouth does not: it would fall shut in the middle of a word.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from .geometry import smoothstep

BLINK_SECONDS = 0.3
LIDS_DOWN = 0.11  # seconds after a blink begins
BLINK_PAUSE = (2.0, 5.5)  # seconds between two blinks
FIRST_BLINK = (0.8, 4.0)  # seconds
PAUSE_REACH = 1.2  # seconds that a blink comes early or late, to fall into a pause of the speech
SWAY_PERIODS = np.array([3.1, 4.7, 7.3])  # seconds
HEAD_REST, MOUTH_REST = 0.5, 0.125  # seconds from rest to full motion, and back


class Motion:
    """Blinks and sway over a clip; `in_pause` says for each of its frames whether the speech pauses, (frames,)."""

    def __init__(
        self, seed: int, in_pause: NDArray[np.bool_], fps: int, joins: tuple[bool, bool] = (False, False)
    ) -> None:
        self._joins = joins
        # The recording has its say too: the clips of an answer, all of one seed, are not to blink in step.
        random = np.random.default_rng((seed, zlib.crc32(in_pause.tobytes())))
        self._end = (len(in_pause) - 1) / fps
        self._phases = random.uniform(0, 2 * np.pi, (3, len(SWAY_PERIODS)))
        self._blinks = _blinks(random, np.flatnonzero(in_pause) / fps, self._end)

    def lids(self, time: float) -> float:
        """How far the lids are closed, 0..1: down faster than up."""
        since = time - self._blinks
        phase = since[(since >= 0) & (since < BLINK_SECONDS)] / BLINK_SECONDS
        return float(np.interp(phase[0], (0, 0.3, 0.45, 1), (0, 1, 1, 0))) if phase.size else 0.0

    def sway(self, time: float) -> tuple[float, float, float]:
        """Shift along and down the face, and roll: each -1..1."""
        x, y, roll = np.sin(2 * np.pi * time / SWAY_PERIODS + self._phases).mean(axis=1) * self._ease(time, HEAD_REST)
        return float(x), float(y), float(roll)

    def mouth(self, time: float) -> float:
        """How far the mouth follows the speech, 0..1."""
        return self._ease(time, MOUTH_REST, self._joins)

    def _ease(self, time: float, rest: float, joins: tuple[bool, bool] = (False, False)) -> float:
        """0 at either end of the clip, 1 where both are at least `rest` away; an end that joins another is none."""
        away = min(rest if joins[0] else time, rest if joins[1] else self._end - time)
        return float(smoothstep(np.asarray(away), 0, rest))


def _blinks(random: np.random.Generator, paused: NDArray[np.float64], end: float) -> NDArray[np.float64]:
    """When blinks begin, in order: with the lids down in the pause that is nearest, if one is near, else by chance."""
    last = end - BLINK_SECONDS  # a blink is whole
    begins = paused - LIDS_DOWN
    blinks: list[float] = []
    due, earliest = random.uniform(*FIRST_BLINK), 0.0
    while due <= last + PAUSE_REACH:
        near = begins[(abs(begins - due) < PAUSE_REACH) & (begins > earliest) & (begins <= last)]
        began = float(near[np.argmin(abs(near - due))]) if near.size else due
        if began <= last:
            blinks.append(began)
        due, earliest = began + random.uniform(*BLINK_PAUSE), began + BLINK_PAUSE[0] / 2
    return np.array(blinks)
