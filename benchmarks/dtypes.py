"""How far from float32 the frames of other dtypes are: the clip that was recorded from the authors' code, in each.

    python -m benchmarks.dtypes

Differences are of pixel values, 0 to 255. The weights are those of the recording, which are random: what they make has
more contrast from pixel to pixel than a face has.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.machine import machine
from echod.inference.audio import Speech
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from echod.inference.limits import DTYPES
from tests.parity.golden import GOLDEN, Golden

WITNESS = GOLDEN / "witness"
OPTIONS = ("steps", "guidance", "seed", "fps", "window", "overlap")
Frames = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dtype", default=",".join(DTYPES[1:]), help="one after the other, the first is the measure")
    dtypes = parser.parse_args().dtype.split(",")
    print(machine())
    facts, recorded = recording()
    theirs = recorded["video_uint8"][0].permute(1, 2, 3, 0).numpy()
    first: Frames | None = None
    for dtype in dtypes:
        began = time.perf_counter()
        frames = make(dtype, facts, recorded)
        first = frames if first is None else first
        size = f"{frames.shape[2]}x{frames.shape[1]}"
        print(f"{dtype}, {len(frames)} frames of {size} in {time.perf_counter() - began:.0f} s")
        print(f"    from the recorded frames   {apart(frames, theirs[: len(frames)])}")
        if frames is not first:
            print(f"    from {dtypes[0]:<21} {apart(frames, first)}")


def recording() -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that the clip was recorded with, and what was recorded."""
    return json.loads((WITNESS / "witness.json").read_text()), load_file(WITNESS / "expected.safetensors")


def make(dtype: str, facts: dict[str, Any], recorded: dict[str, Any]) -> Frames:
    pipeline = Audio2VideoPipeline(Golden(GOLDEN / "keyed").models(getattr(torch, dtype)))
    likeness = pipeline.prepare(recorded["ref_image_rgb"].numpy(), recorded["mask"].numpy())
    speech = Speech.open(WITNESS / "speech.wav")
    return np.concatenate(list(pipeline(likeness, speech, **{name: facts[name] for name in OPTIONS})))


def apart(ours: Frames, theirs: Frames) -> str:
    """How far from each other, by the worst pixel, on average and as a peak signal-to-noise ratio."""
    distance = np.abs(ours.astype(float) - theirs)
    square = float((distance**2).mean())
    noise = f"{10 * math.log10(255**2 / square):.1f} dB" if square else "equal"
    return f"max {distance.max():3.0f}   mean {distance.mean():6.3f}   PSNR {noise}"


if __name__ == "__main__":
    main()
