"""CUDA's cards: which of them this process may see, and what another must be told to see one of those alone."""

from __future__ import annotations

import os
import re

VISIBLE = "CUDA_VISIBLE_DEVICES"
# A card, or a part of one: CUDA counts one part at most, whatever there is, so parts have to be named.
UUID = r"(?:GPU|MIG)-[0-9A-Za-z/-]+"


class NoSuchDevice(Exception):
    """A device that was asked for cannot be seen from here."""

    code = "no_device"


def is_cuda(device: str) -> bool:
    return device.startswith(("cuda", "GPU-", "MIG-"))


def entries(visible: str) -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, as CUDA and torch read it: up to the first that is none, of two equal none."""
    prefix = next((prefix for prefix in ("GPU-", "MIG-") if visible.startswith(prefix)), None)
    found: list[str] = []
    for each in visible.split(","):
        number = re.match(r"\+?\d+", each.strip())
        entry = str(int(number[0])) if number and not prefix else each
        if entry in found:
            return []
        if not (entry.startswith(prefix) if prefix else number):
            break
        found.append(entry)
    return found


def visible_alone(device: str) -> str:
    """CUDA_VISIBLE_DEVICES for a process that sees this device and no other card.

    `cuda:N` counts within what this process may see itself. Raises NoSuchDevice.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return device if is_cuda(device) else ""
    inherited, number = os.environ.get(VISIBLE), int(index or 0)
    if inherited is None:
        return str(number)
    seen = entries(inherited)
    if number >= len(seen):
        raise NoSuchDevice(f"{device} is not there: {VISIBLE}={inherited!r} shows {len(seen)} devices")
    return seen[number]
