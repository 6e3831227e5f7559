"""`python -m echod.inference.peak DTYPE ENGINE WEIGHTS WxH DECODER`: what a device can do, what an engine asks of it.

A matrix product in a dtype, timed on the only device that CUDA_VISIBLE_DEVICES shows, or on the CPU; and the FLOP of a
window call and of a decoded frame. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from .echomimic import cost, layout
from .echomimic.config import PRESETS

ROUNDS = 10
SIDE = {"cuda": 8192, "cpu": 2048}  # of the matrices: enough to fill a card, and half a second of a slow CPU


def gemm(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of the fastest of some matrix products; others at work on the device only make it slower."""
    side = SIDE[device]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return max(2 * side**3 / _seconds(a, b) for _ in range(ROUNDS))


def _seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of one product; on CUDA by the card's own clock."""
    if a.device.type == "cpu":
        began = time.perf_counter()
        torch.mm(a, b)
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    torch.mm(a, b)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def main(dtype: str, engine: str, weights: str, size: str, decoder: str) -> None:
    width, height = map(int, size.split("x"))
    config, _ = layout.sizes(Path(weights))
    counted = cost.count(config, (width, height), PRESETS[engine].guidance, decoder)
    most = gemm(getattr(torch, dtype), "cuda" if torch.cuda.is_available() else "cpu")
    print(json.dumps(counted._asdict() | {"gemm": most}))


if __name__ == "__main__":
    main(*sys.argv[1:])
