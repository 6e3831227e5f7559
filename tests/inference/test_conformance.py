"""What an engine gives is looked at before it becomes a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echod.inference.audio import Speech
from echod.inference.clip import make_clip
from echod.inference.conformance import ContractError, portrait_of
from echod.inference.contract import Options, Portrait
from tests.stand_ins.engine import ScriptedEngine

PORTRAIT = Portrait(size=(136, 128), crop=(0, 0, 136, 128), faces=1, nbytes=0)


def frames(count: int = 1, shape: tuple[int, ...] = (128, 136, 3), dtype: Any = np.uint8) -> Any:
    return np.zeros((count, *shape), dtype)


class Engine(ScriptedEngine):
    """One that gives what it is told to."""

    def __init__(self, *batches: Any, progress: tuple[Any, Any, Any] = ("decode", 0, 1)) -> None:
        self.batches, self.progress = batches, progress

    def frames(self, portrait: Any, speech: Speech, options: Options, checkpoint: Any, *_: Any) -> Iterator[Any]:
        checkpoint(*self.progress)
        yield from self.batches


WRONG: dict[str, tuple[Callable[[], Engine], str]] = {
    "too few": (lambda: Engine(frames(12)), "12 of 13 frames"),
    "none": (lambda: Engine(), "0 of 13 frames"),
    "too many": (lambda: Engine(frames(7), frames(7)), "7 frames at once and 14 in all, of 13"),
    "an empty batch": (lambda: Engine(frames(0), frames(13)), "0 frames at once"),
    "height and width changed": (lambda: Engine(frames(13, (136, 128, 3))), r"\(13, 136, 128, 3\), and no .*128, 136"),
    "one frame without its axis": (lambda: Engine(frames(13)[0]), r"\(128, 136, 3\), and no uint8 array"),
    "an alpha channel": (lambda: Engine(frames(13, (128, 136, 4))), r"\(13, 128, 136, 4\)"),
    "floats": (lambda: Engine(frames(13, dtype=np.float32)), "float32"),
    "a list": (lambda: Engine([1]), "gave list"),
    "a stage of its own": (lambda: Engine(progress=("think", 0, 1)), "the stage 'think'; there are face, audio"),
    "more than all": (lambda: Engine(progress=("decode", 2, 1)), "2 of 1 at decode"),
    "half a window": (lambda: Engine(progress=("decode", 0.5, 1)), "0.5 of 1 at decode"),
}  # fmt: skip


@pytest.mark.parametrize(("engine", "problem"), WRONG.values(), ids=WRONG)
def test_frames_of_another_kind(tone: Speech, tmp_path: Path, engine: Callable[[], Engine], problem: str) -> None:
    """They end the attempt, in words; no clip is left, and to try again would not help."""
    (tmp_path / "out").mkdir()
    with pytest.raises(ContractError, match=f"engine preview does not keep the contract: .*{problem}") as broken:
        make_clip(engine(), PORTRAIT, tone, Options(fps=10), tmp_path / "out")
    assert broken.value.code == "internal"
    assert not list((tmp_path / "out").glob("*.mp4*"))


def test_all_frames(tone: Speech, tmp_path: Path) -> None:
    """As many as the speech has become a clip, in batches of whatever size."""
    (tmp_path / "out").mkdir()
    assert make_clip(Engine(frames(12), frames()), PORTRAIT, tone, Options(fps=10), tmp_path / "out").frames == 13


@pytest.mark.parametrize("portrait", [None, Portrait(size=(128, 128), crop=(0, 0, 1, 1), faces=1, nbytes=0)])
def test_portrait_of_another_kind(portrait: Any) -> None:
    """What `prepare` returns must be a portrait, of the size that was asked for."""
    with pytest.raises(ContractError, match=r"and no Portrait of size \(136, 128\)"):
        portrait_of("preview", portrait, (136, 128))
    assert portrait_of("preview", PORTRAIT, (136, 128)) is PORTRAIT
