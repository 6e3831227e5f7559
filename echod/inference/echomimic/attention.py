"""Attention as both U-Nets' checkpoints name it, with keys and values that may be computed beforehand."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

MOST = 2**16 - 1  # n at once: torch's kernels put it where CUDA counts no further, and fail

KeyValue: TypeAlias = tuple[Tensor, Tensor]  # (n, heads, tokens, C / heads) each

# cuDNN's is the fastest on Hopper and Blackwell, where torch would try it last.
CUDNN_FIRST = [
    SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH
]  # fmt: skip


class Attention(nn.Module):
    """Queries from C wide tokens, keys and values from `context` wide ones (C if not given)."""

    cudnn_first = False
    fused: Tensor | None = None  # the weights of q, k and v under each other, or of k and v where tokens are not own

    def __init__(self, channels: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context or channels, channels, bias=False)
        self.to_v = nn.Linear(context or channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def queries(self, tokens: Tensor) -> Tensor:
        return self._split(self.to_q(tokens))

    def keys(self, context: Tensor) -> KeyValue:
        """Each by itself in memory, so that they can be kept."""
        return self._split(self.to_k(context)), self._split(self.to_v(context))

    def heard(self, context: Tensor) -> KeyValue:
        """Keys and values that are used at once."""
        if self.fused is None:
            return self.keys(context)
        key, value = map(self._split, F.linear(context, self.fused).chunk(2, -1))
        return key, value

    def own(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of the same tokens."""
        if self.fused is None:
            return self.queries(tokens), *self.keys(tokens)
        query, key, value = map(self._split, F.linear(tokens, self.fused).chunk(3, -1))
        return query, key, value

    def fuse(self, *layers: nn.Linear) -> None:
        """From now on one matrix product does the work of these, for `own` or for `heard`, in other last bits.

        Weights keep their names, and the memory that they take.
        """
        self.fused = torch.cat([layer.weight for layer in layers])
        for layer, weight in zip(layers, self.fused.chunk(len(layers)), strict=True):
            layer.weight = nn.Parameter(weight, requires_grad=False)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """(n, heads, L, C / heads) to tokens (n, L, C), not yet through `out`."""
        if len(query) > MOST:
            parts = zip(*(torch.split(each, MOST) for each in (query, key, value)), strict=True)
            return torch.cat([self.attend(q, k, v, mask) for q, k, v in parts])
        if self.cudnn_first:
            with sdpa_kernel(CUDNN_FIRST, set_priority=True):
                attended = F.scaled_dot_product_attention(query, key, value, mask)
        else:
            attended = F.scaled_dot_product_attention(query, key, value, mask)
        return attended.transpose(1, 2).flatten(2)

    def out(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.to_out[0](tokens)
        return mixed

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.view(*tokens.shape[:-1], self.heads, -1).transpose(1, 2)
