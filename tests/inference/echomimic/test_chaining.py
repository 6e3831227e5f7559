"""A clip goes on from the end of the one before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from echod.inference import contract
from echod.inference.audio import Speech
from echod.inference.echomimic.chaining import KEPT, End
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from echod.inference.echomimic.sampler import Likeness, Sampler, schedule
from echod.inference.echomimic.windows import Plan
from echod.inference.errors import InputError
from echod.inference.room import Room
from tests.drivers.helping import helping

STEPS = 2
FRAMES = 15


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_led_to_a_known_end(pipeline: Audio2VideoPipeline, likeness: Likeness, steps: int) -> None:
    """Frames whose end is known reach it whatever the denoiser says of them; others move as without."""
    models, known = pipeline.models, random(2, 4, 8, 8, seed=1)
    scheduler = schedule(models.config.scheduler, steps)
    plan = Plan(FRAMES, steps)
    led, free = (
        Sampler(models.denoiser, lambda frames: torch.empty(0), likeness, scheduler, plan, before=before)
        for before in (known, None)
    )
    frames = [7, 1, 0]
    latents = other = random(3, 4, 8, 8, seed=2)
    for level in range(steps):
        velocities = random(3, 4, 8, 8, seed=3 + level)
        latents = led.step(level, frames, velocities, latents)
        other = free.step(level, frames, velocities, other)
    assert torch.equal(latents[0], other[0])
    torch.testing.assert_close(latents[[2, 1]], known, atol=1e-4, rtol=0)


class Chain:
    """Clips of one portrait, each a further one. `made` are the frames."""

    def __init__(self, pipeline: Audio2VideoPipeline, likeness: Likeness, speech: Speech, directory: Path) -> None:
        self.pipeline, self.likeness, self.speech, self.directory = pipeline, likeness, speech, directory

    def make(
        self,
        name: str,
        before: str | None = None,
        seed: int = 420,
        checkpoint: contract.Checkpoint = contract.no_checkpoint,
    ) -> NDArray[np.uint8]:
        board = contract.Board(self.directory / f"{name}.board", Room(self.directory))
        frames = self.pipeline(
            self.likeness, self.speech, steps=STEPS, seed=seed, board=board, checkpoint=checkpoint,
            before=self.directory / before if before else None, end=self.directory / name,
        )  # fmt: skip
        return np.concatenate(list(frames))


@pytest.fixture
def chain(pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech, tmp_path: Path) -> Chain:
    return Chain(pipeline, likeness, second, tmp_path)


def test_goes_on(chain: Chain) -> None:
    """It has its own frames and no others, which are not those of a clip that begins anew."""
    first = chain.make("first")
    end = End.read(chain.directory / "first", chain.likeness, torch.float32)
    assert end.latents.shape == (KEPT, 4, 8, 8)
    alone, chained = chain.make("alone", seed=7), chain.make("chained", "first", seed=7)
    assert len(first) == len(alone) == len(chained) == FRAMES
    assert not np.array_equal(alone, chained)
    assert np.array_equal(chain.make("again", "first", seed=7), chained)


def test_others_help(chain: Chain) -> None:
    """Whoever helps knows the end of the clip before, and a clip that is cut off goes on with it."""
    chain.make("first")
    alone, helped = chain.make("alone", "first"), list[int]()

    def checkpoint(stage: str, done: int, total: int) -> None:
        if stage == "denoise" and not helped:
            helped.append(helping(chain.pipeline, chain.directory / "shared.board", 4))

    assert np.array_equal(chain.make("shared", "first", checkpoint=checkpoint), alone)
    assert helped == [4]


def test_an_end_that_cannot_be_kept(chain: Chain) -> None:
    """The clip is whole all the same."""
    assert len(chain.make("nowhere/first")) == FRAMES


def test_of_another_size(chain: Chain) -> None:
    End(torch.zeros(KEPT, 4, 16, 16), torch.zeros(KEPT, 50, 4)).write(chain.directory / "larger")
    with pytest.raises(InputError, match="16, 16"):
        chain.make("chained", "larger")
