"""What is computed otherwise on a card than on a CPU, where that is faster there: the same but for the last bits.

Each way is picked by itself, by what the card can do. Which were picked belongs into an engine's `numbers`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch.nn.utils import convert_conv2d_weight_memory_format

from .attention import Attention
from .denoiser import TransformerBlock
from .feed_forward import Gate
from .motion import TemporalAttention
from .weights import Models

TOGETHER = 8  # places that share a row of motion's attention: 96 tokens of the usual window, as kernels like them
CUDNN = (9, 10)  # major compute capabilities for which cuDNN's attention is the fastest
COMPILED = (8, 0)  # the least capability that Triton's kernels are worth compiling for


@dataclass(frozen=True)
class Ways:
    """By default a CPU's. `compiles`: Triton is there for a card that it is good for."""

    channels_last: bool = False
    together: bool = False
    fused: bool = False
    cudnn_first: bool = False
    compiles: bool = False

    @classmethod
    def of(cls, device: torch.device) -> Self:
        if device.type != "cuda":
            return cls()
        return cls.on(torch.cuda.get_device_capability(device), importlib.util.find_spec("triton") is not None)

    @classmethod
    def on(cls, capability: tuple[int, int], triton: bool) -> Self:
        """Those of a card of that compute capability."""
        return cls(True, True, True, capability[0] in CUDNN, triton and capability >= COMPILED)

    @property
    def names(self) -> list[str]:
        """Of those taken, but for `compiles`, which may fail."""
        return [field.name for field in fields(self) if field.name != "compiles" and getattr(self, field.name)]

    def take(self, models: Models) -> None:
        """Have the models compute like this from now on. Names of weights stay, and so does the memory they take."""
        if self.channels_last:
            # Or one card's bits would depend on what else runs on it: on which algorithm was fast just then.
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
            for module in (models.denoiser, models.vae, models.decodes, models.reference):
                convert_conv2d_weight_memory_format(module, torch.channels_last)
        models.denoiser.places = TOGETHER if self.together else 1
        for part in models.denoiser.modules():
            if isinstance(part, TransformerBlock):
                part.attn1.cudnn_first = self.cudnn_first
                if self.fused:
                    fuse_own(part.attn1)
                    part.attn2.fuse(part.attn2.to_k, part.attn2.to_v)
            elif isinstance(part, TemporalAttention) and self.fused:
                fuse_own(part)
            elif isinstance(part, Gate) and self.compiles:
                from .geglu import geglu, suits

                part.in_one = geglu if suits(part.proj.weight) else None


def fuse_own(attention: Attention) -> None:
    attention.fuse(attention.to_q, attention.to_k, attention.to_v)
