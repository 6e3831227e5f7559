"""TAESD in place of the VAE's decoder, and fewer steps: approximations, which say that they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from echod.inference.audio import Speech
from echod.inference.contract import Board, Options, no_checkpoint
from echod.inference.echomimic import layout
from echod.inference.echomimic.config import PRESETS
from echod.inference.echomimic.engine import EchoMimicEngine, EchoMimicPortrait
from echod.inference.echomimic.pictures import pictures
from echod.inference.echomimic.sampler import Likeness
from echod.inference.echomimic.weights import Models
from echod.inference.room import Room


@pytest.fixture(scope="module")
def taesd() -> AutoencoderTiny:
    """A small one of random weights."""
    channels = (8,) * 4
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return AutoencoderTiny(encoder_block_out_channels=channels, decoder_block_out_channels=channels).eval()


@pytest.fixture(scope="module")
def both(models: Models, taesd: AutoencoderTiny) -> tuple[EchoMimicEngine, EchoMimicEngine]:
    """The engine with either decoder."""
    return EchoMimicEngine("echomimic", models), EchoMimicEngine("echomimic", replace(models, taesd=taesd))


def frames(engine: EchoMimicEngine, likeness: Likeness, speech: Speech, board: Board | None = None) -> list[np.ndarray]:
    portrait = EchoMimicPortrait((64, 64), (0, 0, 64, 64), 1, 0, likeness)
    return list(engine.frames(portrait, speech, Options(steps=2), no_checkpoint, board))


@torch.inference_mode()
def test_latents_are_not_scaled(taesd: AutoencoderTiny) -> None:
    """TAESD takes latents as the denoiser makes them; pictures are cut to bytes as the VAE's are."""
    latents = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    due = ((taesd.decode(latents).sample / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1)
    apart = (pictures(taesd, latents).float() - due).abs()
    assert apart.max() <= 1 and pictures(taesd, latents).shape == (5, 64, 64, 3)


def test_other_frames(
    both: tuple[EchoMimicEngine, EchoMimicEngine], likeness: Likeness, second: Speech, tmp_path: Path
) -> None:
    """As many and others; what was begun with one decoder is not gone on with by the other."""
    board = Board(tmp_path / "board", Room(tmp_path))
    exact, approximate = (np.concatenate(frames(engine, likeness, second, board)) for engine in both)
    assert exact.shape == approximate.shape == (15, 64, 64, 3)
    assert np.abs(exact.astype(int) - approximate).mean() > 5
    assert (approximate == np.concatenate(frames(both[1], likeness, second))).all()


def test_it_says_so(both: tuple[EchoMimicEngine, EchoMimicEngine], models: Models, taesd: AutoencoderTiny) -> None:
    """In what makes its clips exact, in their metadata and manifests, and in who may help whom."""
    exact, approximate = both
    assert (exact.exact, approximate.exact) == (True, False)
    assert "approximation" not in {**exact.mark, **exact.computed}
    assert approximate.mark["approximation"] == approximate.computed["approximation"] == "taesd"
    assert exact.numbers != approximate.numbers
    assert sum(approximate.shares.values()) == pytest.approx(1)
    assert approximate.shares["decode"] < exact.shares["decode"] / 5
    fast = EchoMimicEngine("echomimic-fast", replace(models, taesd=taesd))
    assert (fast.exact, fast.computed["approximation"]) == (False, "4 steps, taesd")


def test_fast_needs_no_files_of_its_own() -> None:
    """Four steps of the accelerated files, which `echomimic` has."""
    assert layout.parts("echomimic-fast") == layout.parts("echomimic")
    assert (PRESETS["echomimic-fast"].steps, PRESETS["echomimic-fast"].guidance) == (4, 1.0)
