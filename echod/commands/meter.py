"""What a worker's machine tells of a job that it runs: memory, and what the card draws. On that machine alone.

NVIDIA's NVML tells of cards; its module, `pynvml`, is installed by whoever wants to know.
"""

from __future__ import annotations

import importlib
import re
import time
from pathlib import Path
from typing import Any

PROC = Path("/proc")


class UnknownError(Exception):
    """Something that cannot be measured here; says why."""


class Meter:
    """Looks at the worker of a device, as /readyz tells of it, from now on."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._pid = state["pid"]
        self._visible = state["cuda_visible_devices"]
        self._began = time.monotonic()
        try:
            self._card: Any = Card(self._visible)
            self._joules = self._card.joules()
        except UnknownError as error:
            self._card, self._why = None, str(error)

    def host_memory(self) -> int:
        """Bytes: the most that the worker has held since its start."""
        try:
            status = (PROC / str(self._pid) / "status").read_text()
        except OSError:
            status = ""
        if not (peak := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)):
            raise UnknownError(f"{PROC}/{self._pid}/status tells no peak")
        return int(peak[1]) * 1024

    def card(self) -> Card:
        """The worker's card. Raises UnknownError."""
        if self._card is None:
            raise UnknownError(self._why)
        card: Card = self._card
        return card

    def watts(self) -> float:
        """On average, since this began to look."""
        drawn = self.card().joules() - self._joules
        return float(drawn / (time.monotonic() - self._began))


class Card:
    """An NVIDIA card, or a part of one, by what CUDA_VISIBLE_DEVICES says. What is not told raises UnknownError."""

    def __init__(self, visible: str | None) -> None:
        if not visible:
            raise UnknownError("the device is no card")
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            raise UnknownError("pynvml is not installed (`pip install nvidia-ml-py`)") from None
        self._ask("nvmlInit")
        number = visible.isdecimal()
        self._handle = self._ask(
            f"nvmlDeviceGetHandleBy{'Index' if number else 'UUID'}", int(visible) if number else visible
        )

    def joules(self) -> float:
        """Drawn since the driver was loaded."""
        return float(self._ask("nvmlDeviceGetTotalEnergyConsumption", self._handle) / 1000)

    def memory(self) -> int:
        """Bytes in use, by whomever. A worker keeps what its clip took, so that after one it is the peak."""
        return int(self._ask("nvmlDeviceGetMemoryInfo", self._handle).used)

    def driver(self) -> str:
        version = self._ask("nvmlSystemGetDriverVersion")
        return version.decode() if isinstance(version, bytes) else str(version)

    def _ask(self, name: str, *given: Any) -> Any:
        try:
            return getattr(self._nvml, name)(*given)
        except (self._nvml.NVMLError, AttributeError) as error:
            raise UnknownError(f"NVML: {error}") from None
