"""WAV files of PCM."""

from __future__ import annotations

import io
import wave


def wav(sound: bytes | bytearray, rate: int) -> bytes:
    """A WAV file of pcm16, mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(sound)
    return file.getvalue()
