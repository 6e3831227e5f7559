"""PCM as echod hears and speaks it: signed 16 bit, mono; and WAV files of it."""

from __future__ import annotations

import io
import wave

HEAR_RATE = 16_000  # samples per second
SPEAK_RATE = 24_000
SAMPLE = 2  # bytes


def wav(sound: bytes | bytearray, rate: int) -> bytes:
    """A WAV file of pcm16, mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(SAMPLE)
        writer.setframerate(rate)
        writer.writeframes(sound)
    return file.getvalue()
