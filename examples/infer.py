"""A portrait and a recording become a clip, without the daemon.

    python examples/infer.py portrait.png speech.wav clip.mp4 --weights weights

The model files come from `echod weights pull`. With many clips to make, load the engine once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from echod.inference.contract import Options
from echod.inference.echomimic.engine import EchoMimicEngine
from echod.inference.echomimic.layout import WeightsError
from echod.inference.echomimic.pictures import NotFiniteError
from echod.inference.generate import generate_video
from echod.inference.limits import DTYPES


def show(stage: str, done: int, total: int) -> None:
    print(f"\r{stage} {done}/{total}\033[K", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portrait", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--engine", choices=["echomimic", "echomimic-quality"], default="echomimic")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--size", type=int, nargs=2, metavar=("W", "H"), default=(512, 512))
    parser.add_argument("--view", choices=["face", "picture"], default="picture")
    parser.add_argument("--seed", type=int, default=420)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--full-frame", action="store_true", help="do not look for a face: the whole picture")
    given = parser.parse_args()

    try:
        engine = EchoMimicEngine.load(given.engine, given.weights, given.device, given.dtype)
    except (WeightsError, NotFiniteError) as error:
        sys.exit(str(error))
    facts = generate_video(
        engine,
        given.portrait,
        given.speech,
        given.clip,
        size=tuple(given.size),
        view=given.view,
        options=Options(seed=given.seed, steps=given.steps),
        full_frame=given.full_frame,
        checkpoint=show,
    )
    print(f"\r{facts.frames} frames, {facts.seconds:.1f} s of clip in {facts.timings_ms['total'] / 1000:.1f} s")


if __name__ == "__main__":
    main()
