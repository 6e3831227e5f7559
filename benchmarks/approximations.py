"""What the approximations gain in time and cost in picture: fewer steps, and TAESD in place of the VAE.

    python -m benchmarks.approximations                    # decoding at the published sizes; steps on recorded weights
    python -m benchmarks.approximations --weights weights  # clips with the published weights, against the exact one

Without weights the models are random: times are theirs, and pictures tell of steps only, and little of faces. With
weights, `echod weights pull echomimic` and `taesd`, the last lines are what a clip of the example really loses.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from benchmarks.dtypes import Frames, apart, make, recording
from benchmarks.machine import machine
from echod.inference.audio import Speech
from echod.inference.contract import Options, no_checkpoint
from echod.inference.echomimic.config import PRESETS, VAE
from echod.inference.echomimic.pictures import pictures
from echod.inference.engines import load_engine
from echod.inference.limits import DECODERS
from echod.inference.portraits import read_portrait

EXAMPLES = Path(__file__).parent.parent / "examples"
ENGINES = ("echomimic", "echomimic-fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, help="a directory in the published layout, with TAESD")
    parser.add_argument("--portrait", type=Path, default=EXAMPLES / "portrait.png")
    parser.add_argument("--speech", type=Path, default=EXAMPLES / "speech.wav")
    parser.add_argument("--side", type=int, default=256, help="of frames, in pixels")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    if options.weights:
        clips(options)
    else:
        decoding(options)
        steps()


@torch.inference_mode()
def decoding(options: argparse.Namespace) -> None:
    """One frame by either decoder, in turn: on a CPU its time, which others' work does not lengthen."""
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    dtype, side = getattr(torch, options.dtype), options.side // 8
    made: list[Any] = [AutoencoderKL(**VAE), AutoencoderTiny()]
    decoders = [each.to(options.device, dtype).eval() for each in made]
    latents = torch.randn(1, 4, side, side, dtype=dtype)
    took: list[list[float]] = [[], []]
    for _ in range(1 + options.repeats):
        for each, decoder in zip(took, decoders, strict=True):
            each.append(timed(clock, decoder, latents))
    by_vae, by_taesd = (median(each[1:]) for each in took)  # the first warms up
    where = f"{options.side}x{options.side}, {options.dtype}, {torch.get_num_threads()} threads"
    print(f"a frame of {where}: vae {by_vae:.3f} s, taesd {by_taesd:.4f} s, ratio {by_vae / by_taesd:.1f}")


def steps() -> None:
    """The recorded clip in as many steps as it was recorded with, and in those of echomimic-fast."""
    facts, recorded = recording()
    exact = make("float32", facts, recorded)
    for count in (PRESETS["echomimic-fast"].steps, facts["steps"] - 1):
        made = make("float32", facts | {"steps": count}, recorded)
        print(f"{count} steps from {facts['steps']}, random weights: {apart(made, exact)}")


def clips(options: argparse.Namespace) -> None:
    """The same clip by both engines with both decoders; the first is the exact one."""
    image, speech, exact = read_portrait(options.portrait), Speech.open(options.speech), None
    for decoder in DECODERS:
        for name in ENGINES:
            engine = load_engine(name, options.weights, options.device, options.dtype, decoder=decoder)
            portrait = engine.prepare(image, (options.side, options.side))
            began = time.perf_counter()
            frames: Frames = np.concatenate(list(engine.frames(portrait, speech, Options(), no_checkpoint)))
            took, exact = time.perf_counter() - began, frames if exact is None else exact
            print(f"{name:15} {decoder:6} {len(frames) / took:8.3f} frames/s   {apart(frames, exact)}")


def timed(clock: Callable[[], float], decoder: Any, latents: torch.Tensor) -> float:
    began = clock()
    pictures(decoder, latents)
    return clock() - began


if __name__ == "__main__":
    main()
