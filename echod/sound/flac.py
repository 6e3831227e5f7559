"""Speech as a voice gives it, pcm16 mono SPEAK_RATE, written as the FLAC file that workers read."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.frame import AudioFrame

from echod.inspection.facts import SpeechFacts
from echod.sound.pcm import SPEAK_RATE


class SpeechFile:
    """Writes beside `path`; `publish` puts it in place. What is left half written is removed."""

    def __init__(self, path: Path) -> None:
        self._part = part_of(path)
        self._open()

    def _open(self) -> None:
        self.seconds = 0.0
        self._container = av.open(str(self._part), "w", format="flac")
        self._stream = self._container.add_stream("flac", rate=SPEAK_RATE, options={"compression_level": "0"})
        self._stream.layout, self._stream.format = "mono", "s16"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as unless_whole:
            unless_whole.callback(self._part.unlink, missing_ok=True)
            with self._container:
                if kind is None:
                    self._container.mux(self._stream.encode(None))
            if kind is None:
                unless_whole.pop_all()

    def write(self, pcm: bytes) -> None:
        """Append whole samples: about a millisecond for a second of sound."""
        samples = np.frombuffer(pcm, "<i2")
        if samples.size:
            frame = AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "mono")
            frame.sample_rate = SPEAK_RATE
            self._container.mux(self._stream.encode(frame))
            self.seconds += samples.size / SPEAK_RATE

    def begin_again(self) -> None:
        """What was written is to be forgotten."""
        self._container.close()
        self._open()


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def publish(path: Path) -> SpeechFacts:
    """Put a written file in place, synced."""
    with part_of(path).open("rb") as file:
        os.fsync(file.fileno())
    part_of(path).replace(path)
    return read(path)


def read(path: Path) -> SpeechFacts:
    """The facts of a published file."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.duration is not None and stream.time_base is not None
        seconds = float(stream.duration * stream.time_base)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SpeechFacts(seconds=seconds, rate=SPEAK_RATE, channels=1, sha256=digest)
