"""The reference net: Stable Diffusion's U-Net, looked at from inside while it sees the portrait once.

Its transformer blocks lack text attention and its head is gone; what leaves it is the bank, the tokens that each
block's first attention would attend to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from .config import UNetConfig

Bank: TypeAlias = Mapping[str, Tensor]  # path of a transformer block -> its reference tokens (1, L, C)

CROSS_DOWN = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
CROSS_UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3


class ReferenceUNet(UNet2DConditionModel):  # type: ignore[misc]
    """diffusers' U-Net without the parts that the reference checkpoint has no weights for."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(
            down_block_types=CROSS_DOWN,
            up_block_types=CROSS_UP,
            block_out_channels=config.block_out_channels,
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            layers_per_block=config.layers_per_block,
            attention_head_dim=config.attention_head_dim,
            norm_num_groups=config.norm_num_groups,
            norm_eps=config.norm_eps,
            cross_attention_dim=8,  # of the text attention, which goes
        )
        self.conv_norm_out = None
        self.conv_out = nn.Identity()
        for _, block in self._blocks():
            block.norm2 = block.attn2 = None

    def _blocks(self) -> list[tuple[str, Any]]:
        return [(path, part) for path, part in self.named_modules() if isinstance(part, BasicTransformerBlock)]

    def bank(self, latents: Tensor) -> dict[str, Tensor]:
        """What every transformer block makes of the portrait's latents (1, 4, h, w): its tokens after norm1."""
        bank: dict[str, Tensor] = {}

        def keep(path: str) -> Any:
            def hook(module: nn.Module, inputs: Any, tokens: Tensor) -> None:
                bank[path] = tokens

            return hook

        hooks = [block.norm1.register_forward_hook(keep(path)) for path, block in self._blocks()]
        try:
            self(latents, 0, None)
        finally:
            for hook in hooks:
                hook.remove()
        return bank
