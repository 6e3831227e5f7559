"""Convolutions of nets whose deepest levels have a handful of places."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

FEW = range(2, 5)  # places of a picture; of a single one the library leaves out what lies beyond it


class Convolution(nn.Conv2d):
    """One of stride 1. With few places it is a matrix product on the CPU: the library's takes twice as long there.

    It puts the weights into another order every time, and they, up to 118 MB, are many times as large as the pictures.
    """

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        if x.device.type != "cpu" or h * w not in FEW:
            return super().forward(x)
        size, margin = self.weight.shape[2:], self.weight.shape[2] // 2
        patches = F.unfold(x, size, padding=margin).transpose(1, 2).flatten(0, 1)  # (n L, C kh kw)
        made = F.linear(patches, self.weight.flatten(1), self.bias)
        return made.view(n, h * w, -1).transpose(1, 2).contiguous().view(n, -1, h, w)
