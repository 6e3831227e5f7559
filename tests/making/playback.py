"""Reads clips back, the way players do."""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Playback:
    """Decoded frames (n, H, W, 3), their times, the sound (samples,) and where picture and sound end, in seconds."""

    frames: NDArray[np.uint8]
    times: list[float]
    sound: NDArray[np.float32]
    rate: int
    picture_end: float
    sound_end: float
    tags: dict[str, str]


def play(path: Path) -> Playback:
    frames, times, sound = [], [], []
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        for frame in container.decode(video, audio):
            if isinstance(frame, av.VideoFrame):
                frames.append(frame.to_ndarray(format="rgb24"))
                times.append(float(frame.time or 0))
            elif isinstance(frame, av.AudioFrame):
                sound.append(frame.to_ndarray()[0])
        ends = [float((stream.duration or 0) * (stream.time_base or 0)) for stream in (video, audio)]
        return Playback(
            np.stack(frames), times, np.concatenate(sound), audio.rate, ends[0], ends[1], dict(container.metadata)
        )


def playable(data: bytes) -> bool:
    """Whether a player would show a picture of this much of the clip."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            return next(container.decode(video=0), None) is not None
    except (av.FFmpegError, IndexError):
        return False


def packets(path: Path) -> list[tuple[int, int | None, int | None, bytes]]:
    """Every packet: stream, pts, dts and content."""
    with av.open(str(path)) as container:
        return sorted(
            (packet.stream.index, packet.dts, packet.pts, bytes(packet))
            for packet in container.demux()
            if packet.dts is not None
        )


def boxes(data: bytes) -> list[tuple[str, int, int]]:
    """The top-level mp4 boxes: type, start, end. The last one may be cut off."""
    found, start = [], 0
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        found.append((kind.decode(), start, start + size))
        start += size
    return found


def complete_fragments(data: bytes) -> list[bytes]:
    """The file up to the end of each fragment that is complete."""
    return [data[:end] for kind, _, end in boxes(data) if kind == "mdat" and end <= len(data)]


def digest(path: Path) -> str:
    """Of a clip's decoded frames."""
    return hashlib.sha256(play(path).frames.tobytes()).hexdigest()


def frame_hashes(source: io.BytesIO | str) -> list[str]:
    with av.open(source, "r") as container:
        return [
            hashlib.sha256(frame.to_ndarray(format="rgb24").tobytes()).hexdigest()
            for frame in container.decode(video=0)
        ]
