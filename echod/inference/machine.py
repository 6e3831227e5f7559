"""What computes: the processor by name, since another kind may round the last bits otherwise, and in which dtypes."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path


@cache
def processor() -> str:
    """Such as `Intel(R) Xeon(R) Platinum 8481C`; the architecture where Linux does not tell."""
    return _told("model name") or platform.machine()


def dtypes(device: str) -> tuple[str, ...]:
    """What the dtype `auto` means on a torch device, best first: the next one, where numbers are not finite in it."""
    if not device.startswith("cuda"):
        return of_processor(_told("vendor_id"), frozenset(_told("flags").split()))
    import torch

    return of_card(torch.cuda.get_device_capability(device))


def of_card(capability: tuple[int, int]) -> tuple[str, ...]:
    """By CUDA's compute capability: 6.1 has float16 at a 64th of its speed, and bfloat16 is emulated below 8.0."""
    wide = ("bfloat16", "float32") if capability >= (8, 0) else ("float32",)
    return ("float16", *wide) if capability >= (7, 0) or capability == (6, 0) else wide


def of_processor(vendor: str, flags: frozenset[str]) -> tuple[str, ...]:
    """By /proc/cpuinfo: bfloat16 where it is an instruction, and a fast one.

    Intel's avx512_bf16 alone, without AMX, takes twice as long as float32 (measured on an Emerald Rapids whose AMX the
    hypervisor hides); AMD's does twice as much, by its data sheet. A trial at each start would fall out otherwise on a
    busy machine, and workers of one machine with different dtypes cannot help each other.
    """
    fast = "amx_bf16" in flags or ("avx512_bf16" in flags and vendor == "AuthenticAMD")
    return ("bfloat16", "float32") if fast else ("float32",)


def _told(name: str) -> str:
    """What Linux says of the first processor; empty where it says nothing."""
    try:
        found = re.search(rf"^{name}\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""
