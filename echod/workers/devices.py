"""Devices: which there are, what they are called, and how a process is bound to its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

DEV = Path("/dev")

log = logging.getLogger("echod.fleet")


class NoSuchDevice(Exception):
    """A device that was asked for cannot be seen from here."""

    code = "no_device"


def find_devices(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The devices to use: those named, or with "auto" every CUDA device, or else the CPU."""
    if wanted != ("auto",):
        return wanted
    import torch

    found = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    if not found and (cards := list(DEV.glob("nvidia[0-9]*"))):
        why = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built for the CPU only"
        log.warning("there is %s, but torch %s %s and sees no card; `echod doctor`", cards[0], torch.__version__, why)
    return found or ("cpu",)


def names(devices: Sequence[str]) -> list[str]:
    """What workers are called by, everywhere: their device, and behind the first one on it a number too, cpu#2."""
    counts = (devices[: index + 1].count(device) for index, device in enumerate(devices))
    return [device if count == 1 else f"{device}#{count}" for device, count in zip(devices, counts, strict=True)]


def pin(device: str) -> str:
    """Let this process see its own device and no other; returns CUDA_VISIBLE_DEVICES. Before torch is imported.

    Raises NoSuchDevice for one beyond those that the daemon itself may see.
    """
    kind, _, index = device.partition(":")
    visible = ""
    if kind == "cuda":
        inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = None if inherited is None else [each.strip() for each in inherited.split(",") if each.strip()]
        if seen is not None and int(index or 0) >= len(seen):
            raise NoSuchDevice(f"{device} is not there: CUDA_VISIBLE_DEVICES={inherited!r} shows {len(seen)} devices")
        visible = (index or "0") if seen is None else seen[int(index or 0)]
        # Fragments of a cache that grows with many sizes of clips would be lost to it.
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
    return visible
