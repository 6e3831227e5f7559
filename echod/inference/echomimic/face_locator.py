"""The face locator: where the face is, as features that are added to the latents' first layer."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .config import FaceLocatorConfig


class FaceLocator(nn.Module):
    """Mask (n, 1, H, W) in [0, 1] to features (n, C, H/8, W/8), C of the U-Net's first level."""

    def __init__(self, config: FaceLocatorConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.conditioning_channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for narrow, wide in pairwise(widths):
            self.blocks.append(nn.Conv2d(narrow, narrow, 3, padding=1))
            self.blocks.append(nn.Conv2d(narrow, wide, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(widths[-1], config.conditioning_embedding_channels, 3, padding=1)

    def forward(self, mask: Tensor) -> Tensor:
        x = F.silu(self.conv_in(mask))
        for block in self.blocks:
            x = F.silu(block(x))
        features: Tensor = self.conv_out(x)
        return features
