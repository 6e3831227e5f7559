"""Others help with a clip in the making, from what its owner leaves on the board."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from echod.inference import contract
from echod.inference.audio import Speech
from echod.inference.echomimic.clip import LENT
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from echod.inference.echomimic.sampler import Likeness
from echod.inference.echomimic.tiny import init_tiny
from echod.inference.echomimic.weights import load
from echod.inference.echomimic.windows import wavefront
from echod.inference.room import NoRoom, Room
from tests.drivers.helping import helping
from tests.inference.echomimic.plain import draw, step_by_step

STEPS = 2


def owned(
    pipeline: Audio2VideoPipeline,
    likeness: Likeness,
    speech: Speech,
    directory: Path,
    meanwhile: Callable[[], None],
    room: Room | None = None,
) -> tuple[NDArray[np.uint8], list[str]]:
    """The frames, and the stages whose checkpoints were passed; `meanwhile` runs in the first one of denoising."""
    passed: list[str] = []

    def checkpoint(stage: str, done: int, total: int) -> None:
        if stage == "denoise" and stage not in passed:
            meanwhile()
        passed.append(stage)

    place = contract.Board(directory, room or Room(directory.parent))
    return np.concatenate(
        list(pipeline(likeness, speech, steps=STEPS, board=place, guidance=2.0, checkpoint=checkpoint))
    ), passed


@pytest.fixture
def alone(pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech) -> NDArray[np.uint8]:
    return np.concatenate(list(pipeline(likeness, second, steps=STEPS, guidance=2.0)))


def test_whoever_is_suspended_holds_up_nobody(
    pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech, alone: NDArray[np.uint8], tmp_path: Path
) -> None:
    """While the owner is in a checkpoint others can do all of its clip, which it only shows then."""
    all_of_it = 2 * 2 + 4  # calls of two windows, batches of 15 frames
    helped = []
    made, passed = owned(
        pipeline, likeness, second, tmp_path / "board",
        lambda: helped.append(helping(pipeline, tmp_path / "board", all_of_it)),
    )  # fmt: skip
    assert helped == [all_of_it]
    assert passed.count("denoise") == 1
    assert np.array_equal(made, alone)


def test_of_other_models(
    pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech, alone: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Nobody computes for a clip that is made with other numbers."""
    helped = []
    made, _ = owned(
        pipeline, likeness, second, tmp_path / "board",
        lambda: helped.append(helping(pipeline, tmp_path / "board", 1, "another card")),
    )  # fmt: skip
    assert helped == [0]
    assert np.array_equal(made, alone)


def test_without_room_for_what_helpers_need(
    pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech, alone: NDArray[np.uint8], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The clip is made on its board all the same, and nobody helps."""

    class Tight(Room):
        """With room for the board, and then no more."""

        def fit(self, size: int) -> None:
            if (tmp_path / "board" / "board").stat().st_size:
                raise NoRoom("disk_full", "the disk is nearly full")

    helped = []
    made, _ = owned(
        pipeline, likeness, second, tmp_path / "board",
        lambda: helped.append(helping(pipeline, tmp_path / "board", 1)), Tight(tmp_path),
    )  # fmt: skip
    assert helped == [0]
    assert "nobody can help" in caplog.text
    assert np.array_equal(made, alone)


def test_damaged_on_the_way(
    pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech, alone: NDArray[np.uint8], tmp_path: Path
) -> None:
    """What helpers need is refused where it is not what was written."""
    lent, helped = tmp_path / "board" / LENT, []

    def damaged() -> None:
        data = bytearray(lent.read_bytes())
        data[len(data) // 2] ^= 1
        lent.write_bytes(data)
        helped.append(helping(pipeline, tmp_path / "board", 1))

    made, _ = owned(pipeline, likeness, second, tmp_path / "board", damaged)
    assert helped == [0]
    assert np.array_equal(made, alone)


@pytest.mark.long
@pytest.mark.parametrize("weights", ["keyed", "tiny"])
def test_in_any_order_by_anybody(weights: str, pipeline: Audio2VideoPipeline, second: Speech, tmp_path: Path) -> None:
    """The same frames step by step and as a wavefront, in memory and on a board, alone and with half done by others."""
    if weights == "tiny":
        init_tiny(tmp_path / "weights")
        pipeline = Audio2VideoPipeline(load(tmp_path / "weights", "echomimic", "cpu", torch.float32))
    picture = draw(64, 64, 3).mul(80).clamp(0, 255).to(torch.uint8).numpy()
    likeness, made = pipeline.prepare(picture, picture[..., 0]), dict[str, str]()
    for order, boarded, helped in product((wavefront, step_by_step), (False, True), (0, 6)):
        board = tmp_path / f"{order.__name__} {helped}"

        def checkpoint(stage: str, done: int, total: int, board: Path = board, most: int = helped) -> None:
            if (stage, done) == ("denoise", 0) and most:
                assert helping(pipeline, board, most) == most

        if boarded or not helped:
            place = contract.Board(board, Room(tmp_path)) if boarded else None
            frames = pipeline(likeness, second, steps=3, order=order, board=place, checkpoint=checkpoint)
            made[f"{order.__name__} {boarded} {helped}"] = sha256(np.concatenate(list(frames)).tobytes()).hexdigest()
    assert len(made) == 6
    assert len(set(made.values())) == 1, made
