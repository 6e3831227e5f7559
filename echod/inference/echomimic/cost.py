"""What a clip costs in FLOP, counted on tensors without memory: it needs no weights and no device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..contract import Size
from .audio_features import FrameAudio
from .config import FPS, LATENT_SCALE, VAE_FACTOR, WINDOW, ModelConfig
from .denoiser import Conditions
from .sampler import predict
from .weights import build


class Cost(NamedTuple):
    """FLOP of a whole window's call, and of decoding one frame."""

    call: int
    frame: int


def count(config: ModelConfig, size: Size, guidance: float = 1.0, decoder: str = "vae") -> Cost:
    """By size and one of `limits.DECODERS`; with a guidance above 1 every window is computed twice."""
    nets, (width, height) = build(config, taesd=decoder == "taesd"), size
    denoiser = nets["denoising_unet"]
    with torch.device("meta"), torch.inference_mode():
        latents = torch.empty(WINDOW, 4, height // VAE_FACTOR, width // VAE_FACTOR)
        face = nets["face_locator"](torch.empty(1, 1, height, width))
        bank = denoiser.bank_keys(nets["reference_unet"].bank(latents[:1]))
        heard = torch.empty(WINDOW * 2 + 1, config.whisper.n_audio_layer + 1, config.whisper.n_audio_state)
        audio = FrameAudio(heard, WINDOW, FPS)(range(WINDOW))
        given = Conditions(denoiser.time_shifts(0), audio, face, bank, WINDOW)
        with FlopCounterMode(display=False) as calling:
            predict(denoiser, latents, given, guidance)
        with FlopCounterMode(display=False) as decoding:
            nets[decoder].decode(latents[:1] / LATENT_SCALE)
    return Cost(calling.get_total_flops(), decoding.get_total_flops())
