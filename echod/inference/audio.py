"""Speech: any recording PyAV decodes, read in bounded blocks so that memory does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from .errors import InputError

RATE = 16_000  # samples per second inside; the clip carries the recording at its own rate
MIN_SECONDS = 0.1


@dataclass(frozen=True)
class Speech:
    """One recording. `seconds` is counted in decoded samples; container headers may lie."""

    path: Path
    seconds: float
    rate: int
    channels: int

    @classmethod
    def open(cls, path: Path) -> Speech:
        """Decode the recording once, to measure it. Raises InputError: speech_unreadable, speech_too_short."""
        try:
            with av.open(str(path)) as container:
                if not container.streams.audio:
                    raise InputError("speech_unreadable", f"{path.name} holds no sound")
                stream = container.streams.audio[0]
                rate, channels = stream.rate, stream.channels
            samples = sum(frame.samples for frame in decode(path, "s16", "stereo", rate))
        except av.FFmpegError as error:
            raise InputError("speech_unreadable", f"{path.name} cannot be decoded as sound: {error}") from error
        if samples < MIN_SECONDS * rate:
            raise InputError(
                "speech_too_short",
                f"{path.name} has {samples / rate:.2f} s of sound; at least {MIN_SECONDS} s are needed",
            )
        return cls(path, samples / rate, rate, channels)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """16 kHz mono in order, (samples,) float32 in [-1, 1): 16-bit samples over 32768, as EchoMimic reads them."""
        for frame in decode(self.path, "s16", "mono", RATE):
            yield frame.to_ndarray()[0].astype(np.float32) / 32768


def merged(blocks: Iterable[NDArray[np.float32]], least: int) -> Iterator[NDArray[np.float32]]:
    """The same samples in blocks of at least `least`; the last one may be shorter."""
    waiting: list[NDArray[np.float32]] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= least:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def decode(path: Path, sample_format: str, layout: str, rate: int) -> Iterator[AudioFrame]:
    """The recording's first audio stream, converted; frames of some thousand samples each."""
    resampler = AudioResampler(sample_format, layout, rate)
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[0]):
            frame.pts = None  # gaps and jumps in broken timestamps must not confuse the resampler
            yield from resampler.resample(frame)
        yield from resampler.resample(None)
