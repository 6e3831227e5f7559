"""Attention as both U-Nets' checkpoints name it, with keys and values that may be computed beforehand."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST = 2**16 - 1  # n at once: torch's kernels put it where CUDA counts no further, and fail

KeyValue: TypeAlias = tuple[Tensor, Tensor]  # (n, heads, tokens, C / heads) each


class Attention(nn.Module):
    """Queries from C wide tokens, keys and values from `context` wide ones (C if not given)."""

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
        return self._split(self.to_k(context)), self._split(self.to_v(context))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(n, heads, L, C / heads) to tokens (n, L, C), not yet through `out`."""
        if len(query) > MOST:
            parts = zip(*(torch.split(each, MOST) for each in (query, key, value)), strict=True)
            return torch.cat([self.attend(*part) for part in parts])
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)

    def out(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.to_out[0](tokens)
        return mixed

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.view(*tokens.shape[:-1], self.heads, -1).transpose(1, 2)
