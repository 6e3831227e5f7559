"""Devices on a Ray cluster, as settings name them. Ray itself is imported in a process of its own alone."""

from __future__ import annotations

import re
from importlib.util import find_spec

# ray: as many as the cluster has; ray:8: so many; with /cpu they are CPUs, one a node where no number says otherwise.
FAR = r"ray(?::\d+)?(?:/cpu)?"
ADDRESS = r"local|auto|(?:ray://)?(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}"
MOST = 1024  # devices that one entry may name


def is_far(device: str) -> bool:
    return re.fullmatch(FAR, device) is not None


def follows(device: str) -> bool:
    """Whether it names as many devices as the cluster has, now and later."""
    return is_far(device) and ":" not in device


def expand(device: str) -> tuple[str, ...]:
    """What workers are bound to: ray:2/cpu is ray/cpu twice, and of what follows the cluster none is known yet."""
    if not is_far(device):
        return (device,)
    name, _, more = device.partition(":")
    count, _, kind = more.partition("/")
    return (f"{name}/{kind}" if kind else name,) * int(count or 0)


def is_installed() -> bool:
    return find_spec("ray") is not None
