"""Sound at another rate, as a stream."""

from __future__ import annotations

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from echod.sound.pcm import SAMPLE, SPEAK_RATE

SILENCE = 0.1  # seconds; longer than the filter


class Resampler:
    """pcm16, mono at `rate_in` made pcm16, mono at `rate_out`, in pieces of any length, odd ones included.

    What comes out is whole samples, all in all round(samples in x rate_out / rate_in) of them; the last come with
    `flush`, which ends the stream. Half a sample at the end is dropped.
    """

    def __init__(self, rate_in: int, rate_out: int = SPEAK_RATE) -> None:
        self._rate_in, self._rate_out = rate_in, rate_out
        self._filter = AudioResampler("s16", "mono", rate_out) if rate_in != rate_out else None
        self._half = b""
        self._fed = self._given = 0  # samples

    def feed(self, sound: bytes) -> bytes:
        sound = self._half + sound
        whole = len(sound) - len(sound) % SAMPLE
        sound, self._half = sound[:whole], sound[whole:]
        self._fed += whole // SAMPLE
        return self._take(self._convert(sound))

    def flush(self) -> bytes:
        """The rest. The filter holds back its own length: silence pushes it out, and is cut off."""
        return self._take(self._convert(bytes(SAMPLE * int(self._rate_in * SILENCE))))

    def _convert(self, sound: bytes) -> bytes:
        if self._filter is None or not sound:
            return sound
        frame = AudioFrame.from_ndarray(np.frombuffer(sound, np.int16)[None], "s16", "mono")
        frame.sample_rate = self._rate_in
        return b"".join(frame.to_ndarray().tobytes() for frame in self._filter.resample(frame))

    def _take(self, sound: bytes) -> bytes:
        due = round(self._fed * self._rate_out / self._rate_in) - self._given
        sound = sound[: SAMPLE * due]
        self._given += len(sound) // SAMPLE
        return sound
