"""Devices: which there are, what they are called, and how a process is bound to its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from echod.errors import ConfigurationError
from echod.host import cluster
from echod.host.cards import VISIBLE, NoSuchDevice, entries, is_cuda, visible_alone

DEV = Path("/dev")

log = logging.getLogger("echod.fleet")


def find_devices(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The devices to use, as torch calls them: those named, or with "auto" every CUDA device, or else the CPU.

    Of those that are named by UUID this process and its children see no others from here on. Of what follows the
    cluster none is known yet. ConfigurationError if there is no Ray for those on a cluster.
    """
    if wanted == ("auto",):
        return tuple(f"cuda:{index}" for index in range(_count())) or ("cpu",)
    if (far := [each for each in wanted if cluster.is_far(each)]) and not cluster.is_installed():
        raise ConfigurationError(
            f"devices = {','.join(far)} needs Ray, which is not installed: `pip install 'echod[ray]'` brings it",
            param="devices",
        )
    named = [each for each in dict.fromkeys(wanted) if each.startswith(("GPU-", "MIG-"))]
    if named:
        os.environ[VISIBLE] = ",".join(named)
    found = (f"cuda:{named.index(each)}" if each in named else each for each in wanted)
    return tuple(device for each in found for device in cluster.expand(each))


def _count() -> int:
    import torch

    found, visible = torch.cuda.device_count(), os.environ.get(VISIBLE)
    if found and visible and visible.startswith("MIG-"):
        return len(entries(visible))  # a process sees one part of a card at most: torch counts one
    if not found and (cards := list(DEV.glob("nvidia[0-9]*"))):
        if visible is not None and not entries(visible):
            log.info("%s is not used: %s=%r hides it", cards[0], VISIBLE, visible)
            return 0
        why = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built for the CPU only"
        log.warning("there is %s, but torch %s %s and sees no card; `echod doctor`", cards[0], torch.__version__, why)
    return found


def names(devices: Sequence[str]) -> list[str]:
    """What workers are called by, everywhere: their device, and behind the first one on it a number too, cpu#2."""
    counts = (devices[: index + 1].count(device) for index, device in enumerate(devices))
    return [numbered(device, count) for device, count in zip(devices, counts, strict=True)]


def numbered(device: str, count: int) -> str:
    return device if count == 1 else f"{device}#{count}"


def sharing(devices: Sequence[str], speech: str) -> list[list[str]]:
    """For each device, who else holds memory of its card: workers by their names, and the speech models."""
    cards = [_card(device) for device in devices]
    users = [*zip(names(devices), cards, strict=True), ("speech", _card(speech))]
    return [
        [name for place, (name, other) in enumerate(users) if card and other == card and place != index]
        for index, card in enumerate(cards)
    ]


def _card(device: str) -> str | None:
    try:
        return visible_alone(device) if is_cuda(device) else None
    except NoSuchDevice:  # its worker says so
        return None


def pin(device: str) -> str:
    """Let this process see its own device and no other; returns CUDA_VISIBLE_DEVICES. Before torch is imported.

    Raises NoSuchDevice for one beyond those that the daemon itself may see.
    """
    os.environ[VISIBLE] = visible = visible_alone(device)
    if visible:
        # Fragments of a cache that grows with many sizes of clips would be lost to it.
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    return visible
