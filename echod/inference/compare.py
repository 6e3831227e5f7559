"""Two clips, frame by frame as players see them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from .contract import Image
from .errors import InputError


class Comparison(NamedTuple):
    """How many frames each has, how many of those at the same place differ, and by how much at most, of 255.

    `psnr` is in dB, over all that both have; None: they are equal, or of two `sizes`, and nothing can be compared.
    """

    frames: int
    others: int
    differing: int
    largest: int
    psnr: float | None
    sizes: tuple[str, str] | None = None

    @property
    def same(self) -> bool:
        return self.frames == self.others and self.differing == 0


def compare(clip: Path, other: Path) -> Comparison:
    """In bounded memory. Raises InputError for a file that is no whole video."""
    frames = others = differing = largest = 0
    squares, numbers = 0, 0
    sizes: tuple[str, str] | None = None
    for one, two in zip_longest(pictures(clip), pictures(other)):
        frames, others = frames + (one is not None), others + (two is not None)
        if one is None or two is None:
            continue
        if one.shape != two.shape:
            sizes, differing = (_size(one), _size(two)), differing + 1
            continue
        apart = np.abs(one.astype(np.int16) - two).astype(np.uint32)
        numbers += apart.size
        if apart.any():
            differing, largest = differing + 1, max(largest, int(apart.max()))
            squares += int((apart * apart).sum())
    return Comparison(frames, others, differing, largest, _psnr(squares, numbers), sizes)


def _size(picture: Image) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _psnr(squares: int, numbers: int) -> float | None:
    return 10 * math.log10(255**2 * numbers / squares) if squares else None


def pictures(clip: Path) -> Iterator[Image]:
    """Each frame, (H, W, 3) RGB. Raises InputError for what is no video, or ends before its header says."""
    count = due = 0
    try:
        with av.open(str(clip)) as container:
            if not container.streams.video:
                raise InputError("invalid_request", f"{clip} has no picture, only sound")
            video = container.streams.video[0]
            due = video.frames  # 0 where no header tells
            for frame in container.decode(video):
                count += 1
                yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    except (av.FFmpegError, UnicodeDecodeError) as error:
        if not due:
            reason = getattr(error, "strerror", None) or error
            raise InputError("invalid_request", f"{clip} cannot be read as a video: {reason}") from None
        count = min(count, due - 1)
    if count == 0 or count < due:
        what = f"{count} of {due} frames can be read" if due else "it holds no frame"
        raise InputError("invalid_request", f"{clip} is cut off or damaged: {what}")
