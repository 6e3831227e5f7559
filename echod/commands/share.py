"""How much of what a device can do a clip of EchoMimic's asked of it, by FLOP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from echod import config
from echod.commands.meter import UnknownError
from echod.host.secret import without_secrets
from echod.inference.echomimic import layout
from echod.inference.echomimic.config import PRESETS

if TYPE_CHECKING:
    from echod.client.client import Video

PATIENCE = 300.0  # seconds; a window call of full size is counted within a few of them


def of_peak(video: Video, computed: dict[str, str], visible: str | None) -> dict[str, float]:
    """FLOP/s of denoising and decoding, of a matrix product in the same dtype on the same device, and their ratio.

    The device is idle again. Raises UnknownError.
    """
    engine, extras, spent = video["model"], video["echod"], video["echod"]["timings_ms"]
    if engine not in PRESETS:
        raise UnknownError(f"the work of {engine} is not counted in FLOP")
    if len(extras["devices"]) > 1:
        raise UnknownError(f"{', '.join(extras['devices'])} made it together; with one device it can be told")
    directory = config.load().weights_dir
    if layout.missing(directory, engine):
        raise UnknownError(f"weights_dir {directory} has no {engine}: name the daemon's with ECHOD_WEIGHTS")
    found = _measured(computed, engine, str(directory), video["size"], visible)
    flop = extras["windows_total"] * found["call"] + extras["frames"] * found["frame"]
    flops = flop / (spent["denoise"] + spent["decode"]) * 1000
    return {"flops": flops, "peak_flops": found["gemm"], "share": flops / found["gemm"]}


def _measured(
    computed: dict[str, str], engine: str, directory: str, size: str, visible: str | None
) -> dict[str, float]:
    environ = without_secrets(os.environ) | {"CUDA_VISIBLE_DEVICES": visible or ""}
    if threads := computed.get("threads"):
        environ["OMP_NUM_THREADS"] = threads
    decoder = "taesd" if "taesd" in computed.get("approximation", "").split(", ") else "vae"
    command = [sys.executable, "-m", "echod.inference.peak", computed["dtype"], engine, directory, size, decoder]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environ)
    except subprocess.TimeoutExpired:
        raise UnknownError(f"counting FLOP took more than {PATIENCE:g} s") from None
    if child.returncode:
        raise UnknownError((child.stderr.strip().splitlines() or [f"its child ended with {child.returncode}"])[-1])
    found: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found
