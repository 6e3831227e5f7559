"""Pictures and recordings that tests make for themselves."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def write_wav(path: Path, seconds: float = 0.5, rate: int = 16000, hertz: float = 220.0) -> Path:
    """A tone: 16-bit mono."""
    time = np.arange(round(seconds * rate)) / rate
    samples = (0.5 * 32767 * np.sin(2 * np.pi * hertz * time)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def write_picture(path: Path, width: int = 64, height: int = 48) -> Path:
    """A gradient without a face."""
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    Image.fromarray(np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2)).save(path)
    return path
