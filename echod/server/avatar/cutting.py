"""What is said, cut at pauses into pieces of whole frames, so that sound and pictures never drift: samples are counted.

A piece is pcm16, mono, SPEAK_RATE. Its clip begins and ends at rest, so a cut is seen least where nothing is said.
"""

from __future__ import annotations

import math

import numpy as np

from echod.conversation.detector import WINDOW, Detector
from echod.sound.pcm import HEAR_RATE, SAMPLE, SPEAK_RATE
from echod.sound.resample import Resampler

SECOND = SPEAK_RATE * SAMPLE  # bytes
LEAST, MOST = 1.2, 4.0  # seconds of a piece: sooner it is not cut, and later it is
SHORTEST = 0.2  # seconds: the rest of a segment is made that long with silence
LOOK = WINDOW * SPEAK_RATE // HEAR_RATE * SAMPLE  # bytes that the detector looks at, 32 ms
PAUSE = 6  # looks without a voice in a row
VOICE = 0.35  # less than this is none


class Segment:
    """What belongs together, from its first sound until it is `whole`. `frames` of it are cut off already."""

    def __init__(self, number: int, rate: int, fps: int) -> None:
        self.number = number
        self.fps = fps
        self.frames = 0
        self.whole = False
        self._frame = SECOND // fps  # bytes
        self._least, self._most = math.ceil(LEAST * fps) * self._frame, math.floor(MOST * fps) * self._frame
        self._resampler = Resampler(rate, SPEAK_RATE)
        self._sound = bytearray()
        self._begin()

    @property
    def held(self) -> int:
        """Bytes that are not cut off."""
        return len(self._sound)

    @property
    def done(self) -> bool:
        return self.whole and not self._sound

    def feed(self, sound: bytes) -> None:
        self._sound += self._resampler.feed(sound)

    def finish(self) -> None:
        """That was all: from here to the next whole frame is silence."""
        self._sound += self._resampler.flush()
        self.whole = True
        if self._sound:
            least = max(len(self._sound), math.ceil(SHORTEST * self.fps) * self._frame)
            self._sound += bytes(math.ceil(least / self._frame) * self._frame - len(self._sound))

    def cut(self, detector: Detector) -> bytes | None:
        """The next piece; None where more is to come first.

        The first one does not wait for a pause: somebody waits for it. If there is none in what is there, it ends where
        that is quietest, and so does one that gets too long.
        """
        if self.whole and self.held <= self._most:
            return self._take(self.held, detector) if self.held else None
        if self.held < self._least:
            return None
        self._look(detector)
        end = self._pause()
        if end is None and (self.frames == 0 or self.held >= self._most):
            end = self._quietest()
        return None if end is None else self._take(end, detector)

    def _begin(self) -> None:
        self._hearing = Resampler(SPEAK_RATE, HEAR_RATE)
        self._heard = bytearray()
        self._looked = 0  # bytes of the sound that were given to it
        self._voices: list[float] = []  # how likely one is heard in each look

    def _look(self, detector: Detector) -> None:
        self._heard += self._hearing.feed(bytes(self._sound[self._looked : self._most]))
        self._looked = min(self.held, self._most)
        while len(self._heard) >= WINDOW * SAMPLE:
            self._voices.append(detector.voice_in(self._heard[: WINDOW * SAMPLE]))
            del self._heard[: WINDOW * SAMPLE]

    def _pause(self) -> int | None:
        """The middle of the first pause that is late enough, in bytes of whole frames."""
        silent = 0
        for look, voice in enumerate(self._voices, 1):
            silent = silent + 1 if voice < VOICE else 0
            end = (look - PAUSE // 2) * LOOK // self._frame * self._frame
            if silent >= PAUSE and end >= self._least:
                return end
        return None

    def _quietest(self) -> int:
        """Where among the ends that a piece may have least is heard."""
        most = min(self.held // self._frame * self._frame, self._most)
        samples = np.frombuffer(bytes(self._sound[:most]), "<i2").astype(np.float32)
        ends = range(self._least, most + 1, self._frame)
        near = self._frame // SAMPLE
        loud = [np.abs(samples[end // SAMPLE - near : end // SAMPLE + near]).mean() for end in ends]
        return ends[int(np.argmin(loud))]

    def _take(self, end: int, detector: Detector) -> bytes:
        piece = bytes(self._sound[:end])
        del self._sound[:end]
        self.frames += end // self._frame
        detector.close()  # what is left is looked at anew
        self._begin()
        return piece
