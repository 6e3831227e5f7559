"""Motion modules: every place of the picture attends to itself over the frames of its window."""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn

from .attention import Attention
from .config import UNetConfig
from .feed_forward import FeedForward

NORM_GROUPS = 32  # whatever the U-Net's configuration says


def position_table(positions: int, channels: int) -> Tensor:
    """Sinusoids (1, positions, C), sine on even and cosine on odd channels, in fp32."""
    place = torch.arange(positions, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2) * (-torch.log(torch.tensor(10000.0)) / channels))
    table = torch.zeros(1, positions, channels)
    table[0, :, 0::2] = torch.sin(place * rate)
    table[0, :, 1::2] = torch.cos(place * rate)
    return table


def parting_mask(places: int, frames: int, like: Tensor) -> Tensor:
    """(P F, P F) to add to what tokens give for each other: frames of one place see each other and no other's."""
    place = torch.arange(places * frames, device=like.device) // frames
    return torch.zeros_like(place[:, None] - place, dtype=like.dtype).masked_fill(place[:, None] != place, -torch.inf)


class PositionEncoder(nn.Module):
    """A frame's place in its window, not in the clip."""

    def __init__(self, positions: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("pe", position_table(positions, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        table = self.get_buffer("pe")[:, : tokens.shape[1]]
        return tokens + table.to(tokens.dtype)


class TemporalAttention(Attention):
    """Self-attention over tokens (n, F, C); P places share a row where there is a mask (P F, P F) that parts them."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__(channels, config.motion_heads)
        self.pos_encoder = PositionEncoder(config.motion_positions, channels)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        n, frames, c = tokens.shape
        tokens = self.pos_encoder(tokens)
        if mask is not None:
            places = gcd(n, len(mask) // frames)
            tokens, mask = tokens.view(-1, places * frames, c), mask[: places * frames, : places * frames]
        return self.out(self.attend(*self.own(tokens), mask)).view(n, frames, c)


class TemporalBlock(nn.Module):
    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList([TemporalAttention(channels, config) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(channels) for _ in range(2)])
        self.ff = FeedForward(channels)
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            tokens = tokens + attention(norm(tokens), mask)
        mixed: Tensor = tokens + self.ff(self.ff_norm(tokens))
        return mixed


class TemporalTransformer(nn.Module):
    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(channels, config)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, frames: int, mask: Tensor | None) -> Tensor:
        n, c, h, w = x.shape
        tokens = self.norm(x).view(-1, frames, c, h * w).permute(0, 3, 1, 2).flatten(0, 1)  # (B L, F, C)
        # Of one window they are a view, with which the projection would be many small products instead of one.
        tokens = self.proj_in(tokens.contiguous())
        tokens = self.proj_out(self.transformer_blocks[0](tokens, mask))
        mixed: Tensor = tokens.view(-1, h * w, frames, c).permute(0, 2, 3, 1).reshape(n, c, h, w)
        return x + mixed


class MotionModule(nn.Module):
    """Rows (B F, C, h, w) of windows of `frames` frames to the same, mixed over the frames of each window."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, config)

    def forward(self, x: Tensor, frames: int, mask: Tensor | None = None) -> Tensor:
        mixed: Tensor = self.temporal_transformer(x, frames, mask)
        return mixed
