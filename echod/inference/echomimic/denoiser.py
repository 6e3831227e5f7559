"""The denoising U-Net: a picture net on every frame, the audio and the portrait in its attention, motion in between.

Rows are frames of windows, (B F), from end to end; nothing but the motion modules mixes them. Three things a caller
computes once and passes in: a step's time shifts, the portrait's keys and values, the face features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from .attention import Attention, KeyValue
from .config import AUDIO_FACTOR, UNetConfig
from .convolution import Convolution
from .feed_forward import FeedForward
from .motion import MotionModule
from .reference import Bank

BankKeys: TypeAlias = Mapping[str, KeyValue]  # path of a transformer block -> the portrait's (1, heads, L, C / heads)
Shifts: TypeAlias = Mapping[str, Tensor]  # path of a resnet -> what the step adds, (1, C, 1, 1)


@dataclass(frozen=True)
class Conditions:
    """What rows are denoised towards. The first `free` rows see neither audio, face nor portrait.

    `audio` (n - free, 50, D), `face` (1, C, h, w), `frames` F of each window. `mask` is motion's `parting_mask`, where
    a card computes several places together.
    """

    shifts: Shifts
    audio: Tensor
    face: Tensor
    bank: BankKeys | None
    frames: int
    free: int = 0
    mask: Tensor | None = None


class Resnet(nn.Module):
    def __init__(self, path: str, incoming: int, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.path = path
        groups, eps = config.norm_num_groups, config.norm_eps
        self.norm1 = nn.GroupNorm(groups, incoming, eps=eps)
        self.conv1 = Convolution(incoming, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(4 * config.block_out_channels[0], channels)
        self.norm2 = nn.GroupNorm(groups, channels, eps=eps)
        self.conv2 = Convolution(channels, channels, 3, padding=1)
        if incoming != channels:
            self.conv_shortcut = Convolution(incoming, channels, 1)

    def shift(self, time: Tensor) -> Tensor:
        projected: Tensor = self.time_emb_proj(F.silu(time))[:, :, None, None]
        return projected

    def forward(self, x: Tensor, given: Conditions) -> Tensor:
        h: Tensor = self.conv1(F.silu(self.norm1(x))) + given.shifts[self.path]
        h = self.conv2(F.silu(self.norm2(h)))
        shortcut: Tensor = self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x
        return shortcut + h


class TransformerBlock(nn.Module):
    def __init__(self, path: str, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.path = path
        heads = config.attention_head_dim
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, heads, config.cross_attention_dim)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, given: Conditions) -> Tensor:
        x = x + self.look(self.norm1(x), given)
        x = torch.add(x, self.listen(self.norm2(x), given), alpha=AUDIO_FACTOR)
        mixed: Tensor = x + self.ff(self.norm3(x))
        return mixed

    def look(self, tokens: Tensor, given: Conditions) -> Tensor:
        """Each row attends to itself and, unless it is free, to the portrait."""
        query, key, value = self.attn1.own(tokens)
        if given.bank is None:
            return self.attn1.out(self.attn1.attend(query, key, value))
        free, rows = given.free, len(tokens) - given.free
        seen_key, seen_value = (kept.expand(rows, -1, -1, -1) for kept in given.bank[self.path])
        seen = self.attn1.attend(
            query[free:], torch.cat([key[free:], seen_key], 2), torch.cat([value[free:], seen_value], 2)
        )
        if free:
            seen = torch.cat([self.attn1.attend(query[:free], key[:free], value[:free]), seen])
        return self.attn1.out(seen)

    def listen(self, tokens: Tensor, given: Conditions) -> Tensor:
        """Each row attends to its own audio; of silence (no keys, no values) only the output's bias would be left."""
        heard = self.attn2.attend(self.attn2.queries(tokens[given.free :]), *self.attn2.heard(given.audio))
        if given.free:
            heard = torch.cat([heard.new_zeros(given.free, *heard.shape[1:]), heard])
        return self.attn2.out(heard)


class Transformer(nn.Module):
    def __init__(self, path: str, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(f"{path}.transformer_blocks.0", channels, config)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, given: Conditions) -> Tensor:
        h, w = x.shape[2:]
        tokens = project(self.proj_in, self.norm(x).flatten(2).transpose(1, 2))  # (n, L, C)
        tokens = project(self.proj_out, self.transformer_blocks[0](tokens, given))
        return x + tokens.transpose(1, 2).reshape(-1, tokens.shape[2], h, w)


def project(convolution: nn.Conv2d, tokens: Tensor) -> Tensor:
    """A 1x1 convolution, on tokens: one matrix product, where the CPU's convolution takes a slow path."""
    return F.linear(tokens, convolution.weight.flatten(1), convolution.bias)


class Block(nn.Module):
    """Units of resnet, transformer (where the level attends) and motion module."""

    def __init__(self, path: str, widths: Iterable[tuple[int, int]], attends: bool, config: UNetConfig) -> None:
        super().__init__()
        pairs = list(widths)
        self.channels = pairs[-1][1]
        self.resnets = nn.ModuleList([Resnet(f"{path}.resnets.{i}", *pair, config) for i, pair in enumerate(pairs)])
        if attends:
            self.attentions = nn.ModuleList(
                [Transformer(f"{path}.attentions.{i}", out, config) for i, (_, out) in enumerate(pairs)]
            )
        self.motion_modules = nn.ModuleList([MotionModule(out, config) for _, out in pairs])

    def unit(self, i: int, x: Tensor, given: Conditions) -> Tensor:
        x = self.resnets[i](x, given)
        if hasattr(self, "attentions"):
            x = self.attentions[i](x, given)
        mixed: Tensor = self.motion_modules[i](x, given.frames, given.mask)
        return mixed


class DownBlock(Block):
    def __init__(
        self, path: str, widths: Iterable[tuple[int, int]], attends: bool, config: UNetConfig, *, last: bool
    ) -> None:
        super().__init__(path, widths, attends, config)
        if not last:
            self.downsamplers = nn.ModuleList(
                [Downsample2D(self.channels, use_conv=True, out_channels=self.channels, padding=1, name="op")]
            )

    def forward(self, x: Tensor, skips: list[Tensor], given: Conditions) -> Tensor:
        for i in range(len(self.resnets)):
            x = self.unit(i, x, given)
            skips.append(x)
        if hasattr(self, "downsamplers"):
            x = self.downsamplers[0](x)
            skips.append(x)
        return x


class UpBlock(Block):
    def __init__(
        self, path: str, widths: Iterable[tuple[int, int]], attends: bool, config: UNetConfig, *, last: bool
    ) -> None:
        super().__init__(path, widths, attends, config)
        if not last:
            self.upsamplers = nn.ModuleList([Upsample2D(self.channels, use_conv=True, out_channels=self.channels)])

    def forward(self, x: Tensor, skips: list[Tensor], given: Conditions) -> Tensor:
        for i in range(len(self.resnets)):
            x = self.unit(i, torch.cat([x, skips.pop()], 1), given)
        if hasattr(self, "upsamplers"):
            # To the next skip's size, not simply twice: latents need not be multiples of 8.
            x = self.upsamplers[0](x, skips[-1].shape[2:])
        return x


class MidBlock(Block):
    def __init__(self, path: str, channels: int, config: UNetConfig) -> None:
        super().__init__(path, [(channels, channels)], True, config)
        self.resnets.append(Resnet(f"{path}.resnets.1", channels, channels, config))

    def forward(self, x: Tensor, given: Conditions) -> Tensor:
        mixed: Tensor = self.resnets[1](self.unit(0, x, given), given)
        return mixed


class DenoisingUNet(nn.Module):
    """v-predictions (n, 4, h, w) for latents of the same shape; n = B F rows."""

    places = 1  # that share a row of motion's attention

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, units = config.block_out_channels, config.layers_per_block
        deepest = len(widths) - 1
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], 4 * widths[0])
        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]
        for level, width in enumerate(widths):
            path, pairs = f"down_blocks.{level}", [(skips[-1], width)] + [(width, width)] * (units - 1)
            last = level == deepest
            self.down_blocks.append(DownBlock(path, pairs, not last, config, last=last))
            skips += [width] * (units if last else units + 1)
        self.mid_block = MidBlock("mid_block", widths[-1], config)
        self.up_blocks = nn.ModuleList()
        current = widths[-1]
        for level, width in enumerate(reversed(widths)):
            path, pairs = f"up_blocks.{level}", []
            for _ in range(units + 1):
                pairs.append((current + skips.pop(), width))
                current = width
            self.up_blocks.append(UpBlock(path, pairs, level > 0, config, last=level == deepest))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], eps=config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def time_shifts(self, timestep: int) -> dict[str, Tensor]:
        """What every resnet adds at a step; the same for all rows."""
        weight = self.conv_in.weight
        angles = get_timestep_embedding(
            torch.tensor([timestep], device=weight.device),
            self.config.block_out_channels[0],
            flip_sin_to_cos=True,
            downscale_freq_shift=0,
        )
        time = self.time_embedding(angles.to(weight.dtype))
        return {part.path: part.shift(time) for part in self.modules() if isinstance(part, Resnet)}

    def bank_keys(self, bank: Bank) -> dict[str, KeyValue]:
        """The reference tokens as keys and values of this net's blocks, paired by path."""
        blocks: dict[str, Any] = {part.path: part for part in self.modules() if isinstance(part, TransformerBlock)}
        return {path: block.attn1.keys(bank[path]) for path, block in blocks.items()}

    def forward(self, latents: Tensor, given: Conditions) -> Tensor:
        x = self.conv_in(latents)
        x = torch.cat([x[: given.free], x[given.free :] + given.face]) if given.free else x + given.face
        skips = [x]
        for block in self.down_blocks:
            x = block(x, skips, given)
        x = self.mid_block(x, given)
        for block in self.up_blocks:
            x = block(x, skips, given)
        velocity: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return velocity
