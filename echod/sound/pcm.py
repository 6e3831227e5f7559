"""PCM as echod hears and speaks it: signed 16 bit, mono."""

from __future__ import annotations

HEAR_RATE = 16_000  # samples per second
SPEAK_RATE = 24_000


SAMPLE = 2  # bytes
