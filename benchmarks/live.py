"""What a live clip of EchoMimic saves: window calls and CPU time until its first frames, and for all of it.

    OMP_NUM_THREADS=1 python -m benchmarks.live [--seconds 1.5 3] [--rounds 3]

Small random weights at 128x128 on the CPU, in one process, live clips and others in turns; the least of all rounds.
CPU time, so that what else a box does counts little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import machine
from echod.inference.audio import Speech
from echod.inference.contract import Options
from echod.inference.echomimic.engine import EchoMimicEngine, EchoMimicPortrait
from echod.inference.echomimic.tiny import init_tiny
from tests.making.media import write_wav

SIZE = (128, 128)


class Cost(NamedTuple):
    """Window calls and seconds of CPU time, until the first frames and in all."""

    first_calls: int
    calls: int
    first: float
    total: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.5, 3.0], help="of speech")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(f"{'':24} {'calls before first':>20} {'CPU s':>8} {'calls':>8} {'CPU s':>8}")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        init_tiny(directory / "weights")
        engine = EchoMimicEngine.load("echomimic", directory / "weights", "cpu", "float32")
        portrait = engine.prepare(np.zeros((*SIZE, 3), np.uint8), SIZE, full_frame=True)
        for seconds in options.seconds:
            speech = Speech.open(write_wav(directory / "speech.wav", seconds))
            rounds = [[cost(engine, portrait, speech, live) for live in (False, True)] for _ in range(options.rounds)]
            for name, costs in zip(("any other clip", "live"), zip(*rounds, strict=True), strict=True):
                one, first, total = costs[0], min(each.first for each in costs), min(each.total for each in costs)
                print(
                    f"{f'{seconds:g} s, {name}':24} {one.first_calls:20} {first:8.2f} {one.calls:8} {total:8.2f}",
                    flush=True,
                )


def cost(engine: EchoMimicEngine, portrait: EchoMimicPortrait, speech: Speech, live: bool) -> Cost:
    calls, began, first = 0, time.process_time(), (0, 0.0)

    def checkpoint(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls = done if stage == "denoise" else calls

    for number, _ in enumerate(engine.frames(portrait, speech, Options(live=live), checkpoint)):
        if number == 0:
            first = calls + 1, time.process_time() - began  # the checkpoint stands before the call
    return Cost(first[0], calls, first[1], time.process_time() - began)


if __name__ == "__main__":
    main()
