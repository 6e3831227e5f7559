"""The end of a clip, from which the next may go on: what its last frames became, and what they attended to.

The next clip has these frames before its own. They are led to where they are known to end while its first windows share
them, and are not shown again. So the picture goes on where it was; but a clip then depends on the one before, and is
not that which its speech alone would make.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import safetensors.torch
import torch
from torch import Tensor

from ..errors import InputError
from .config import OVERLAP
from .sampler import Likeness

KEPT = OVERLAP  # frames: as many as neighbouring windows share


@dataclass(frozen=True)
class End:
    """Latents (n, 4, h, w) on the CPU, and audio (n, 50, D)."""

    latents: Tensor
    audio: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def write(self, path: Path) -> None:
        """It appears whole or not at all."""
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(safetensors.torch.save({"latents": self.latents.contiguous(), "audio": self.audio.cpu()}))
        part.replace(path)

    @classmethod
    def read(cls, path: Path, likeness: Likeness, dtype: torch.dtype) -> Self:
        """For a clip of this likeness. Raises InputError (invalid_request) for one of another size."""
        found = safetensors.torch.load(path.read_bytes())
        latents, audio = found["latents"], found["audio"]
        if latents.shape[2:] != likeness.sides:
            raise InputError("invalid_request", f"the clip before has latents of {tuple(latents.shape[2:])}")
        return cls(latents, audio.to(likeness.face.device, dtype))
