"""A prepared portrait and a short speech that most tests of inference share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from echod.inference.audio import Speech
from echod.inference.contract import Image
from echod.inference.preview import PreviewEngine
from echod.inference.preview.engine import PreviewPortrait
from tests.making.media import EXAMPLES, write_wav


@pytest.fixture(scope="session")
def picture() -> Image:
    return np.asarray(Picture.open(EXAMPLES / "portrait.png").convert("RGB"))


@pytest.fixture(scope="session")
def engine() -> PreviewEngine:
    return PreviewEngine()


@pytest.fixture(scope="session")
def portrait(engine: PreviewEngine, picture: Image) -> PreviewPortrait:
    return engine.prepare(picture, (512, 512))


@pytest.fixture(scope="session")
def small_portrait(engine: PreviewEngine, picture: Image) -> PreviewPortrait:
    return engine.prepare(picture, (128, 128))


@pytest.fixture
def tone(tmp_path: Path) -> Speech:
    """1.3 s at 22.05 kHz."""
    return Speech.open(write_wav(tmp_path / "tone.wav", seconds=1.3, rate=22050))
