"""What follows attention in every block, as checkpoints name it: a gated layer four times as wide, and back."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Gate(nn.Module):
    """(..., C) to (..., D): one half of a product with 2 D columns, by the GELU of the other (GEGLU).

    `in_one` computes that without the product in memory; it is taken where torch's compiler runs.
    """

    in_one: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * wide)

    def forward(self, tokens: Tensor) -> Tensor:
        if self.in_one and torch.compiler.is_compiling():
            return self.in_one(tokens, self.proj.weight, self.proj.bias)
        hidden, gate = self.proj(tokens).chunk(2, -1)
        gated: Tensor = hidden * F.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """(..., C) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gate(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.net(tokens)
        return mixed
