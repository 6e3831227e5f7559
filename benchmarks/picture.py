"""What it takes to put frames back into a picture of 1920x1080, beside encoding it, and memory over ten minutes.

    python -m benchmarks.picture [--seconds 600]

The crop is as high as the picture, which is the most there can be of it. Times are of the processor, since the encoder
has threads of its own and the box other things to do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Picture

from benchmarks.machine import machine
from echod.inference.audio import Speech
from echod.inference.contract import Frames, Options, Show, no_checkpoint
from echod.inference.picture import Blend, WholePicture
from echod.inference.preview import PreviewEngine
from echod.inference.video import ClipWriter

EXAMPLES = Path(__file__).parent.parent / "examples"
SIZE, FPS, FRAMES, ROUNDS = (1920, 1080), 24, 96, 5
SHORT = 10  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of the long clip")
    parser.add_argument("--peak", type=int, help="make a clip of so many seconds here and print the peak in MB")
    options = parser.parse_args()
    whole, frames = material()
    if options.peak:
        write(whole, Blend(whole, FPS), frames, options.peak * FPS)
        print(peak())
        return
    print(machine())
    blend = Blend(whole, FPS)
    composed = cycle([blend(frame).copy() for frame in frames[:FPS]])
    together = best(lambda: write(whole, Blend(whole, FPS), frames, FRAMES))
    alone = best(lambda: write(whole, lambda frame: next(composed), frames, FRAMES))
    blending = best(lambda: [blend(frame) for frame in frames])
    print(f"putting back, a frame       {1e3 * blending / FRAMES:6.2f} ms")
    print(f"encoding alone, a frame     {1e3 * alone / FRAMES:6.2f} ms")
    print(f"both, a frame               {1e3 * together / FRAMES:6.2f} ms")
    for seconds in (SHORT, options.seconds):
        command = [sys.executable, "-m", "benchmarks.picture", "--peak", str(seconds)]
        print(f"peak of {seconds:4} s               {float(subprocess.check_output(command)):6.0f} MB")


def material() -> tuple[WholePicture, Frames]:
    """The example portrait on a wall, and frames of its head."""
    portrait = np.asarray(Picture.open(EXAMPLES / "portrait.png").convert("RGB"))
    width, height = SIZE
    side = (width - height) // 2
    large = cv2.resize(portrait, (height, height), interpolation=cv2.INTER_CUBIC)
    picture = np.asarray(cv2.copyMakeBorder(large, 0, 0, side, side, cv2.BORDER_REFLECT), np.uint8)
    engine, speech = PreviewEngine(), Speech.open(EXAMPLES / "speech.wav")
    made = engine.frames(engine.prepare(portrait, (512, 512)), speech, Options(fps=FPS), no_checkpoint)
    frames = [frame for _, batch in zip(range(FRAMES // 8), made, strict=False) for frame in batch]
    return WholePicture(picture, (side, 0, side + height, height), width), np.stack(frames)


def write(whole: WholePicture, show: Show, frames: Frames, number: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        speech = Speech.open(EXAMPLES / "speech.wav")
        writer = ClipWriter(Path(directory) / "clip.mp4", whole.size, FPS, speech, show=show, mark={})
        for frame in islice(cycle(frames), number):
            writer.write(frame[None])
        writer.close()


def peak() -> float:
    """Of this process, in MB; getrusage would tell that of the one it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def best(work: Callable[[], object]) -> float:
    """The least of several times of the processor, in seconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    main()
