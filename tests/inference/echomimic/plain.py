"""The denoising U-Net the obvious way: 5-D tensors, attention written out, nothing computed before it is needed.

Slow; what the real one is compared with. Takes the weights by their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from echod.inference.echomimic.windows import Call, Plan

HEADS = 8


class PlainUNet:
    """v for `sample` (B, 4, F, h, w): all that the authors' net is given, every time anew."""

    def __init__(self, weights: Mapping[str, Tensor], widths: tuple[int, ...]) -> None:
        self.weights, self.widths = weights, widths

    def __call__(
        self, sample: Tensor, timestep: int, audio: Tensor, face: Tensor, bank: Mapping[str, Tensor], guided: bool
    ) -> Tensor:
        """audio (B, F, 50, D), face (B, C, 1, h, w), bank of (1, L, C); `guided`: the first half of B sees no bank."""
        self.audio, self.bank, self.guided = audio, bank, guided
        self.time = self.embed_time(timestep)
        x = self.conv("conv_in", sample) + face
        skips = [x]
        deepest = len(self.widths) - 1
        for level in range(deepest + 1):
            for i in range(2):
                x = self.unit(f"down_blocks.{level}", i, x, level < deepest)
                skips.append(x)
            if level < deepest:
                x = self.conv(f"down_blocks.{level}.downsamplers.0.conv", x, stride=2)
                skips.append(x)
        x = self.unit("mid_block", 0, x, True)
        x = self.resnet("mid_block.resnets.1", x)
        for level in range(deepest + 1):
            for i in range(3):
                x = self.unit(f"up_blocks.{level}", i, torch.cat([x, skips.pop()], 1), level > 0)
            if level < deepest:
                x = torch.stack([F.interpolate(f, skips[-1].shape[-2:]) for f in x.unbind(2)], 2)
                x = self.conv(f"up_blocks.{level}.upsamplers.0.conv", x)
        return self.conv("conv_out", F.silu(self.group_norm("conv_norm_out", x, 1e-5)))

    def embed_time(self, timestep: int) -> Tensor:
        half = self.widths[0] // 2
        rates = 10000 ** (-torch.arange(half) / half)
        angles = timestep * rates
        wave = torch.cat([angles.cos(), angles.sin()])[None]
        return self.linear("time_embedding.linear_2", F.silu(self.linear("time_embedding.linear_1", wave)))

    def unit(self, path: str, i: int, x: Tensor, attends: bool) -> Tensor:
        x = self.resnet(f"{path}.resnets.{i}", x)
        if attends:
            x = self.transformer(f"{path}.attentions.{i}", x)
        return self.motion(f"{path}.motion_modules.{i}.temporal_transformer", x)

    def resnet(self, path: str, x: Tensor) -> Tensor:
        h = self.conv(f"{path}.conv1", F.silu(self.group_norm(f"{path}.norm1", x, 1e-5)))
        h = h + self.linear(f"{path}.time_emb_proj", F.silu(self.time))[:, :, None, None, None]
        h = self.conv(f"{path}.conv2", F.silu(self.group_norm(f"{path}.norm2", h, 1e-5)))
        return h + (self.conv(f"{path}.conv_shortcut", x) if f"{path}.conv_shortcut.weight" in self.weights else x)

    def transformer(self, path: str, x: Tensor) -> Tensor:
        b, _, _, h, w = x.shape
        image = self.conv(f"{path}.proj_in", self.group_norm(f"{path}.norm", x, 1e-6))
        block, rows = f"{path}.transformer_blocks.0", []
        for i in range(b):
            for f in range(image.shape[2]):
                tokens = image[i, :, f].flatten(1).T  # (L, C)
                y = self.layer_norm(f"{block}.norm1", tokens)
                sees = not (self.guided and i < b // 2)
                context = torch.cat([y, self.bank[block][0]]) if sees else y
                tokens = tokens + self.attention(f"{block}.attn1", y, context)
                heard = self.attention(f"{block}.attn2", self.layer_norm(f"{block}.norm2", tokens), self.audio[i, f])
                tokens = tokens + 3.0 * heard
                rows.append(self.feed_forward(block, "norm3", tokens).T.reshape(-1, h, w))
        image = torch.stack(rows).view(b, -1, *rows[0].shape).transpose(1, 2)
        return x + self.conv(f"{path}.proj_out", image)

    def motion(self, path: str, x: Tensor) -> Tensor:
        block = f"{path}.transformer_blocks.0"
        places = self.group_norm(f"{path}.norm", x, 1e-6).permute(0, 3, 4, 2, 1)  # (B, h, w, F, C)
        tokens = self.linear(f"{path}.proj_in", places)
        for k in range(2):
            z = self.layer_norm(f"{block}.norms.{k}", tokens) + positions(*tokens.shape[-2:])
            tokens = tokens + self.attention(f"{block}.attention_blocks.{k}", z, z)
        tokens = self.feed_forward(block, "ff_norm", tokens)
        return x + self.linear(f"{path}.proj_out", tokens).permute(0, 4, 3, 1, 2)

    def feed_forward(self, block: str, norm: str, tokens: Tensor) -> Tensor:
        value, gate = self.linear(f"{block}.ff.net.0.proj", self.layer_norm(f"{block}.{norm}", tokens)).chunk(2, -1)
        return tokens + self.linear(f"{block}.ff.net.2", value * F.gelu(gate))

    def attention(self, path: str, tokens: Tensor, context: Tensor) -> Tensor:
        query = tokens @ self.weights[f"{path}.to_q.weight"].T
        key, value = (context @ self.weights[f"{path}.to_{which}.weight"].T for which in "kv")
        heads = []
        for q, k, v in zip(*(all_heads.chunk(HEADS, -1) for all_heads in (query, key, value)), strict=True):
            heads.append((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v)
        return self.linear(f"{path}.to_out.0", torch.cat(heads, -1))

    def conv(self, path: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = self.weights[f"{path}.weight"], self.weights[f"{path}.bias"]
        frames = [F.conv2d(f, weight, bias, stride, weight.shape[-1] // 2) for f in x.unbind(2)]
        return torch.stack(frames, 2)

    def linear(self, path: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{path}.weight"], self.weights[f"{path}.bias"])

    def group_norm(self, path: str, x: Tensor, eps: float) -> Tensor:
        given = self.weights[f"{path}.weight"], self.weights[f"{path}.bias"], eps
        return torch.stack([F.group_norm(f, 32, *given) for f in x.unbind(2)], 2)

    def layer_norm(self, path: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{path}.weight"], self.weights[f"{path}.bias"])


def positions(frames: int, channels: int) -> Tensor:
    table = torch.zeros(frames, channels)
    for p in range(frames):
        for i in range(0, channels, 2):
            angle = torch.tensor(p * 10000 ** (-i / channels))
            table[p, i], table[p, i + 1] = angle.sin(), angle.cos()
    return table


def sample(
    net: PlainUNet,
    latents: Tensor,
    audio: Tensor,
    face: Tensor,
    bank: Mapping[str, Tensor],
    steps: int,
    guidance: float,
    window: int,
    overlap: int,
) -> Tensor:
    """Step by step over (1, 4, N, h, w), as the specification of the authors' sampler reads; audio (1, N, 50, D)."""
    n = latents.shape[2]
    abar = zero_snr_alphas()
    for step in range(steps):
        t = round(1000 - step * 1000 / steps) - 1
        total, count = torch.zeros(2, *latents.shape[1:]), torch.zeros(n)
        starts = [0] if n <= window else range(0, n, window - overlap)
        for start in starts:
            frames = [(start + i + 2 * step) % n for i in range(min(window, n))]
            x, a = latents[:, :, frames], audio[:, frames]
            both = torch.cat([x, x]), t, torch.cat([0 * a, a]), torch.cat([0 * face, face]), bank, True
            total[:, :, frames] += net(*both)
            count[frames] += 1
        free, held = total / count[:, None, None]
        v = held if guidance <= 1 else free + guidance * (held - free)
        before, after = abar[t], abar[t - 1000 // steps] if t >= 1000 // steps else torch.tensor(1.0)
        x0 = before.sqrt() * latents - (1 - before).sqrt() * v
        noise = before.sqrt() * v + (1 - before).sqrt() * latents
        latents = after.sqrt() * x0 + (1 - after).sqrt() * noise
    return latents


def zero_snr_alphas() -> Tensor:
    root = (1 - torch.linspace(0.00085, 0.012, 1000)).cumprod(0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root**2


def step_by_step(plan: Plan) -> Iterator[Call]:
    """All calls in the order of the original: every window of a step, then the next step."""
    return ((step, window) for step in range(plan.steps) for window in range(plan.windows))


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def distance(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).norm() / theirs.norm())
