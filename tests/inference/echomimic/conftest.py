"""Small models whose weights follow from the names of their parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from echod.inference.audio import Speech
from echod.inference.echomimic.engine import EchoMimicEngine
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from echod.inference.echomimic.sampler import Likeness
from echod.inference.echomimic.weights import Models
from tests.making.media import write_wav
from tests.parity.golden import GOLDEN, Golden


@pytest.fixture(scope="session")
def keyed() -> Golden:
    return Golden(GOLDEN / "keyed")


@pytest.fixture(scope="session")
def models(keyed: Golden) -> Models:
    return keyed.models()


@pytest.fixture(scope="session")
def pipeline(models: Models) -> Audio2VideoPipeline:
    return Audio2VideoPipeline(models)


@pytest.fixture(scope="session")
def echomimic(models: Models) -> EchoMimicEngine:
    return EchoMimicEngine("echomimic", models)


@pytest.fixture(scope="session")
def likeness(pipeline: Audio2VideoPipeline) -> Likeness:
    """Of a portrait of 64x64 pixels."""
    pixels = torch.randint(0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[10:40, 20:50] = 255
    return pipeline.prepare(pixels.numpy(), mask.numpy())


@pytest.fixture
def second(tmp_path: Path) -> Speech:
    """0.6 s: 15 frames."""
    return Speech.open(write_wav(tmp_path / "second.wav", seconds=0.6, rate=16000))
