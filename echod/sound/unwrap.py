"""WAV around pcm16, mono, taken off where it comes unasked."""

from __future__ import annotations

import struct

from echod.sound.resample import Resampler

MAX_HEAD = 4096  # bytes in which the sound has to begin
MAX_SIZE = 0x7FFF_0000  # bytes; a size above this, or 0, is what servers write that do not know it yet
RATES = range(4_000, 192_001)
COMPRESSED = (b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1")  # mp3, ogg, flac, mp3, aac
PCM, EXTENSIBLE = 1, 0xFFFE


class Unwrapper:
    """A stream that should be pcm16, mono at `rate`, made pcm16, mono at SPEAK_RATE, be there a WAV header or not.

    `feed` raises ValueError, saying what the stream is, if it is neither.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate  # a header's, once there was one
        self._head = b""
        self._left = MAX_SIZE
        self._resampler: Resampler | None = None

    def feed(self, sound: bytes) -> bytes:
        if self._resampler is None:
            self._head += sound
            start = self._start()
            if start is None:
                return b""
            self._resampler = Resampler(self.rate)
            sound = self._head[start:]
        sound = sound[: self._left]
        self._left -= len(sound) if self._left < MAX_SIZE else 0
        return self._resampler.feed(sound)

    def flush(self) -> bytes:
        """The rest, at the end of the stream."""
        if self._resampler is None:
            return b""
        return self._resampler.flush()

    def _start(self) -> int | None:
        """Where in the head the sound begins; None while that cannot be told."""
        if self._head.startswith(COMPRESSED):
            raise ValueError("it is compressed")
        if len(self._head) < 4:
            return None
        if not self._head.startswith(b"RIFF"):
            return 0
        place = 12
        while place + 8 <= len(self._head):
            name, size = struct.unpack_from("<4sI", self._head, place)
            place += 8
            if name == b"data":
                self._left = size if 0 < size < MAX_SIZE else MAX_SIZE
                return place
            if name == b"fmt " and place + size <= len(self._head):
                self.rate = _rate(self._head[place : place + size])
            place += size + size % 2
        if len(self._head) > MAX_HEAD:
            raise ValueError(f"it is WAV without sound in its first {MAX_HEAD} bytes")
        return None


def _rate(form: bytes) -> int:
    if len(form) < 16:
        raise ValueError("it is WAV with a broken header")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if kind == EXTENSIBLE and len(form) >= 26:
        (kind,) = struct.unpack_from("<H", form, 24)
    if (kind, channels, bits) != (PCM, 1, 16) or rate not in RATES:
        raise ValueError(f"it is WAV of kind {kind}: {bits} bits, {channels} channels, {rate} Hz")
    return int(rate)
