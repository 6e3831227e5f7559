"""Recordings in many formats, made with PyAV."""

from __future__ import annotations

import struct
import wave
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from echod.inference.audio import RATE, Speech

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def tone(seconds: float = 1.0, rate: int = 48000, channels: int = 1, peak: float = 0.5) -> NDArray[np.float64]:
    """(channels, samples); each channel one octave above the one before."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([peak * np.sin(2 * np.pi * 110 * 2**channel * time) for channel in range(channels)])


def write_sound(
    path: Path,
    samples: NDArray[np.float64],
    codec: str,
    *,
    format: str | None = None,
    rate: int = 48000,
    video: bool = False,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Encode (channels, samples) in [-1, 1]; with `video` a black picture goes with it."""
    layout = LAYOUTS[len(samples)]
    with av.open(str(path), "w", format=format, options=dict(options or {})) as container:
        if video:
            picture = container.add_stream("libx264", rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        stream = container.add_stream(codec, rate=rate, options={"strict": "experimental"})  # for vorbis
        assert isinstance(stream, AudioStream)
        stream.layout = layout
        stream.bit_rate = 128_000  # where the codec has a choice
        # Packed: planar frames of eight channels have no end for PyAV.
        packed = np.ascontiguousarray(samples.T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = rate
        for part in av.AudioResampler(stream.format, layout, rate).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        if video:
            for _ in range(round(10 * samples.shape[1] / rate)):
                container.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
            container.mux(picture.encode(None))
    return path


def read_sound(path: Path) -> tuple[NDArray[np.float64], int]:
    """(channels, samples) in [-1, 1] of a FLAC file, and its bits per sample."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        blocks = []
        for frame in container.decode(stream):
            block = frame.to_ndarray()
            full = 2.0 ** (8 * block.dtype.itemsize - 1)
            blocks.append(block.reshape(-1, frame.layout.nb_channels).T / full)
        return np.concatenate(blocks, axis=1), 16 if stream.format.name == "s16" else 24


def wav_bytes(samples: bytes, *, rate: int = 16000, channels: int = 1, bits: int = 16, kind: int = 1) -> bytes:
    """A WAV file around raw samples; kind 1 is PCM, 3 float."""
    width = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * width & 0xFFFFFFFF, width & 0xFFFF, bits)
    chunks = (
        b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    )
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


SPEECH = wav_bytes(np.round(tone(0.5, 16000)[0] * 32767).astype("<i2").tobytes())


def write_speech(path: Path, parts: list[NDArray[np.float64]]) -> Speech:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((32767 * np.concatenate(parts)).astype("<i2").tobytes())
    return Speech.open(path)
