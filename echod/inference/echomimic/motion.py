"""Motion modules: every place of the picture attends to itself over the frames of its window."""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from .attention import Attention
from .config import UNetConfig

NORM_GROUPS = 32  # whatever the U-Net's configuration says


def position_table(positions: int, channels: int) -> Tensor:
    """Sinusoids (1, positions, C), sine on even and cosine on odd channels, in fp32."""
    place = torch.arange(positions, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2) * (-torch.log(torch.tensor(10000.0)) / channels))
    table = torch.zeros(1, positions, channels)
    table[0, :, 0::2] = torch.sin(place * rate)
    table[0, :, 1::2] = torch.cos(place * rate)
    return table


class PositionEncoder(nn.Module):
    """A frame's place in its window, not in the clip."""

    def __init__(self, positions: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("pe", position_table(positions, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        table = self.get_buffer("pe")[:, : tokens.shape[1]]
        return tokens + table.to(tokens.dtype)


class TemporalAttention(Attention):
    """Self-attention over tokens (n, F, C)."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__(channels, config.motion_heads)
        self.pos_encoder = PositionEncoder(config.motion_positions, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.pos_encoder(tokens)
        return self.out(self.attend(self.queries(tokens), *self.keys(tokens)))


class TemporalBlock(nn.Module):
    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList([TemporalAttention(channels, config) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(channels) for _ in range(2)])
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            tokens = tokens + attention(norm(tokens))
        mixed: Tensor = tokens + self.ff(self.ff_norm(tokens))
        return mixed


class TemporalTransformer(nn.Module):
    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(channels, config)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        n, c, h, w = x.shape
        tokens = self.norm(x).view(-1, frames, c, h * w).permute(0, 3, 1, 2).flatten(0, 1)  # (B L, F, C)
        tokens = self.proj_out(self.transformer_blocks[0](self.proj_in(tokens)))
        mixed: Tensor = tokens.view(-1, h * w, frames, c).permute(0, 2, 3, 1).reshape(n, c, h, w)
        return x + mixed


class MotionModule(nn.Module):
    """Rows (B F, C, h, w) of windows of `frames` frames to the same, mixed over the frames of each window."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, config)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        mixed: Tensor = self.temporal_transformer(x, frames)
        return mixed
