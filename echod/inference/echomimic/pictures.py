"""Pictures to latents, through the VAE, and back, through it or TAESD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from ..contract import Image
from .board import GRID
from .config import LATENT_SCALE, VAE_FACTOR

DECODE_PIXELS = 2 * 512 * 512  # at once: with more, decoding and not denoising would set the peak of memory


class NotFiniteError(ArithmeticError):
    """A model's numbers left the range of its dtype; the clip would be black from there on."""

    code = "not_finite"


def to_picture(crop: Image) -> Tensor:
    """(H, W, 3) RGB to (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255 * 2 - 1


def to_mask(mask: Image) -> Tensor:
    """(H, W) to (1, 1, H, W) in [0, 1]; greys at its edge stay greys."""
    return torch.from_numpy(mask.copy())[None, None].float() / 255


def pictures(vae: Any, latents: Tensor) -> Tensor:
    """(n, 4, h, w) on the CPU to (n, H, W, 3) uint8, in pieces whose size depends on the frames' alone."""
    pieces = torch.split(to_device(latents, vae.device), decode_batch(latents))
    made = [vae.decode(unscaled(vae, piece)).sample for piece in pieces]
    frames, fine = to_host(torch.cat([to_frames(each) for each in made]), torch.stack([finite(each) for each in made]))
    if fine.all():
        return frames
    return torch.cat([to_frames(decode(vae, piece)) for piece in pieces]).cpu()


def encode(vae: Any, picture: Tensor) -> Tensor:
    """(1, 3, H, W) to latents (1, 4, h, w): the mean, nothing is drawn."""
    return in_range(
        vae,
        lambda given: vae.encode(given).latent_dist.mean * LATENT_SCALE,
        picture.to(vae.dtype),
        "encoding the portrait",
    )


def decode(vae: Any, latents: Tensor) -> Tensor:
    """(n, 4, h, w) to pictures (n, 3, H, W), about -1 to 1."""
    return in_range(vae, lambda given: vae.decode(unscaled(vae, given)).sample, latents, "decoding frames")


def unscaled(vae: Any, latents: Tensor) -> Tensor:
    """As the decoder takes them: TAESD was trained on latents as the denoiser has them."""
    return latents if isinstance(vae, AutoencoderTiny) else latents / LATENT_SCALE


def decode_batch(latents: Tensor) -> int:
    """How many frames of latents (N, 4, h, w) are decoded at once."""
    pixels = latents[0, 0].numel() * VAE_FACTOR**2
    return max(1, min(GRID, DECODE_PIXELS // pixels))


def in_range(vae: Any, work: Callable[[Tensor], Tensor], given: Tensor, what: str) -> Tensor:
    """What the VAE makes of `given`; where half precision is too narrow for it, made once more in fp32.

    Then by halves: a number takes twice the memory.
    """
    made = work(given)
    if all_finite(made):
        return made
    dtype = given.dtype
    if dtype != torch.float32:
        vae.float()
        try:
            made = torch.cat([work(part.float()) for part in given.chunk(2)])
        finally:
            vae.to(dtype)
        if all_finite(made):
            return made
    raise NotFiniteError(f"{what}: the VAE's output is not finite, in fp32 neither")


def to_frames(pictures: Tensor) -> Tensor:
    """(n, 3, H, W) to (n, H, W, 3) uint8, truncated as the authors do."""
    scaled = (pictures.float() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def finite(tensor: Tensor) -> Tensor:
    """Whether all of it is, as a tensor on its device, which nobody waits for."""
    return tensor.isfinite().all()


def all_finite(*tensors: Tensor) -> bool:
    return all(bool(finite(tensor)) for tensor in tensors)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """From the CPU, without the host's waiting for what the device is at."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Copies on the CPU, all for one wait."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    if tensors[0].is_cuda:
        torch.cuda.current_stream(tensors[0].device).synchronize()
    return copies
