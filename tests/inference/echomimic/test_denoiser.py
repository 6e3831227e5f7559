from __future__ import annotations

import pytest
import torch

from echod.inference.echomimic.denoiser import Conditions
from echod.inference.echomimic.sampler import predict
from echod.inference.echomimic.weights import Models
from tests.inference.echomimic.plain import distance, draw

from .plain import PlainUNet


@pytest.mark.parametrize(
    ("windows", "frames", "sides", "guidance"),
    [(1, 12, (16, 16), 1.0), (1, 1, (9, 12), 1.0), (2, 2, (28, 12), 1.0), (1, 4, (12, 10), 2.5), (2, 3, (9, 16), 1.5)],
)
@torch.inference_mode()
def test_equals_the_plain_one(
    models: Models, windows: int, frames: int, sides: tuple[int, int], guidance: float
) -> None:
    """Cached keys, folded frames and batched windows give what the obvious way gives, at any size, with guidance."""
    net, widths = models.denoiser, models.config.unet.block_out_channels
    latents, face = draw(windows, 4, frames, *sides), draw(1, widths[0], 1, *sides)
    audio = draw(windows, frames, 50, models.config.unet.cross_attention_dim)
    bank = models.reference.bank(draw(1, 4, *sides))
    given = Conditions(net.time_shifts(499), audio.flatten(0, 1), face[:, :, 0], net.bank_keys(bank), frames)
    made = predict(net, latents.transpose(1, 2).flatten(0, 1), given, guidance)

    plain = PlainUNet(net.state_dict(), widths)
    twice = torch.cat([latents, latents]), 499, torch.cat([0 * audio, audio])
    free, held = plain(*twice, torch.cat([0 * face] * windows + [face] * windows), bank, True).chunk(2)
    expected = held if guidance <= 1 else free + guidance * (held - free)
    assert distance(made.view(windows, frames, 4, *sides).transpose(1, 2), expected) < 1e-5


@torch.inference_mode()
def test_every_ingredient_counts(models: Models) -> None:
    """Leaving out audio, face, portrait or the right step changes the result plainly."""
    net, config = models.denoiser, models.config.unet
    bank = net.bank_keys(models.reference.bank(draw(1, 4, 8, 8)))
    audio, face = draw(4, 50, config.cross_attention_dim), draw(1, config.block_out_channels[0], 8, 8)
    full = Conditions(net.time_shifts(499), audio, face, bank, 4)
    expected = net(draw(4, 4, 8, 8), full)
    for other in (
        Conditions(full.shifts, 0 * audio, face, bank, 4),
        Conditions(full.shifts, audio, 0 * face, bank, 4),
        Conditions(full.shifts, audio, face, None, 4),
        Conditions(full.shifts, audio, face, bank, 2),
        Conditions(net.time_shifts(500), audio, face, bank, 4),
    ):
        assert distance(net(draw(4, 4, 8, 8), other), expected) > 1e-3
