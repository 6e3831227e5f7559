from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from echod.inference.audio import Speech
from echod.inference.echomimic.board import Order
from echod.inference.echomimic.pictures import NotFiniteError, decode, decode_batch
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from echod.inference.echomimic.sampler import Likeness, Sampler, noise, schedule
from echod.inference.echomimic.weights import Models
from echod.inference.echomimic.windows import Plan, wavefront
from echod.inference.errors import InputError
from tests.drivers.denoised import denoised
from tests.inference.echomimic.plain import distance, draw

from .plain import PlainUNet, sample, step_by_step


def run(
    models: Models,
    likeness: Likeness,
    plan: Plan,
    order: Order = wavefront,
    guidance: float = 1.0,
) -> tuple[Tensor, list[int]]:
    """The clip's latents (N, 4, h, w), and how many frames were final after each batch of calls."""
    audio = draw(plan.frames, 50, models.config.unet.cross_attention_dim)
    scheduler = schedule(models.config.scheduler, plan.steps)
    sampler = Sampler(models.denoiser, lambda frames: audio[frames], likeness, scheduler, plan, guidance)
    return denoised(sampler, noise(plan.frames, likeness.face.shape[2:], 420), order=order)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(26, 3), marks=pytest.mark.long),
        pytest.param(Plan(18, 6), marks=pytest.mark.long),
        pytest.param(Plan(13, 2, 12, 11), marks=pytest.mark.long),
        pytest.param(Plan(17, 3, 8, 4), marks=pytest.mark.long),
        pytest.param(Plan(23, 2, 16, 13), marks=pytest.mark.long),
        Plan(9, 3, 2, 0),
        Plan(20, 1),
        Plan(8, 3),
        Plan(1, 2),
    ],
    ids=lambda plan: f"{plan.frames}x{plan.steps},{plan.window},{plan.overlap}",
)
def test_wavefront_equals_step_by_step(models: Models, likeness: Likeness, plan: Plan) -> None:
    """The order that finishes early frames first gives the same bits as one step after the other."""
    waves, final = run(models, likeness, plan)
    steps, _ = run(models, likeness, plan, step_by_step)
    assert torch.equal(waves, steps)
    assert final[-1] == plan.frames
    assert all(sooner <= later for sooner, later in pairwise(final))


@pytest.mark.parametrize(
    ("plan", "guidance"),
    [
        pytest.param(Plan(5, 2, 3, 1), 1.0, marks=pytest.mark.long),
        (Plan(4, 3, 3, 2), 2.5),
        (Plan(2, 2), 1.0),
    ],
)
def test_equals_the_plain_sampler(models: Models, plan: Plan, guidance: float) -> None:
    """Windows, averages, guidance and DDIM give what the specification's sampler gives, written out step by step."""
    sides = (12, 9)
    bank = models.reference.bank(draw(1, 4, *sides))
    face = draw(1, models.config.unet.block_out_channels[0], 1, *sides)
    likeness = Likeness(face[:, :, 0], models.denoiser.bank_keys(bank))
    made, _ = run(models, likeness, plan, guidance=guidance)
    drawn = noise(plan.frames, sides, 420).transpose(0, 1)[None]
    audio = draw(plan.frames, 50, models.config.unet.cross_attention_dim)[None]
    net = PlainUNet(models.denoiser.state_dict(), models.config.unet.block_out_channels)
    with torch.inference_mode():
        expected = sample(net, drawn, audio, face, bank, plan.steps, guidance, plan.window, plan.overlap)
    assert distance(made.transpose(0, 1)[None], expected) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("frames", "sides"), [(7, (5, 3)), (1, (1, 1)), (64, (1, 1)), (65, (1, 1)), (193, (1, 3)), (300, (9, 7))]
)
def test_noise_is_the_seeds(frames: int, sides: tuple[int, int], dtype: torch.dtype) -> None:
    """Noise is what one draw on the CPU gives, channels first, clamped and rounded; another seed is other noise."""
    drawn = torch.randn(4, frames, *sides, generator=torch.manual_seed(9)).clamp(-1.5, 1.5)
    made = noise(frames, sides, 9, dtype)
    assert torch.equal(made, drawn.transpose(0, 1).to(dtype))
    assert made.is_contiguous()
    assert not torch.equal(made, noise(frames, sides, 8, dtype))


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes that one tensor made in here had."""

    nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.nbytes = max(self.nbytes, made.nbytes if isinstance(made, Tensor) else 0)
        return made


def test_noise_is_held_once() -> None:
    """Beside the noise in the run's dtype there is nothing as large as it, of a long clip."""
    with Largest() as largest:  # type: ignore[no-untyped-call]
        made = noise(2000, (8, 8), 0, torch.float16)
    assert largest.nbytes == made.nbytes


@pytest.mark.parametrize("fps", [12, 24, 25])
def test_frames_last_as_long_as_the_speech(
    pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech, fps: int
) -> None:
    """A clip has ceil(seconds * fps) frames, however many the model makes; the last checkpoints reach their totals."""
    passed: list[tuple[str, int, int]] = []
    batches = list(pipeline(likeness, second, steps=1, fps=fps, checkpoint=lambda *at: passed.append(at)))
    frames = np.concatenate(batches)
    assert frames.shape == (math.ceil(0.6 * fps), 64, 64, 3)
    assert frames.dtype == np.uint8
    for stage in ("audio", "denoise", "decode"):
        counts = [(done, total) for name, done, total in passed if name == stage]
        assert counts == sorted(counts)
        assert (counts[0][0], counts[-1][0]) == (0, counts[-1][1])


def test_early_frames_come_before_the_last_window(
    pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech
) -> None:
    """Frames are handed on while later ones are still being denoised, and are the same as all at the end."""
    windows, seen = 0, list[int]()

    def checkpoint(stage: str, done: int, total: int) -> None:
        nonlocal windows
        windows = done if stage == "denoise" else windows

    options: dict[str, Any] = {"steps": 3, "window": 4, "overlap": 1}
    batches = []
    for batch in pipeline(likeness, second, checkpoint=checkpoint, **options):
        batches.append(batch)
        seen.append(windows)
    assert seen[0] < seen[-1]
    late = list(pipeline(likeness, second, order=step_by_step, **options))
    assert np.array_equal(np.concatenate(batches), np.concatenate(late))


class Cancelled(Exception):
    pass


def test_checkpoints_may_raise(pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech) -> None:
    """What a checkpoint raises ends the run within one window."""

    def checkpoint(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("denoise", 1):
            raise Cancelled

    with pytest.raises(Cancelled):
        list(pipeline(likeness, second, steps=2, checkpoint=checkpoint))


def test_another_run_inside_a_checkpoint(pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech) -> None:
    """A whole run inside a checkpoint of another leaves no trace in either."""
    above: list[Any] = []

    def checkpoint(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("denoise", 1):
            above.extend(pipeline(likeness, second, steps=1, seed=7))

    alone = [list(pipeline(likeness, second, steps=n, seed=n)) for n in (1, 2)]
    below = list(pipeline(likeness, second, steps=2, seed=2, checkpoint=checkpoint))
    assert np.array_equal(np.concatenate(below), np.concatenate(alone[1]))
    assert np.array_equal(np.concatenate(above), np.concatenate(list(pipeline(likeness, second, steps=1, seed=7))))


def test_latents_that_are_not_finite(pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech) -> None:
    """Numbers out of range end the run at the step where they arise, with a code of their own."""
    broken = Likeness(torch.full_like(likeness.face, math.inf), likeness.bank)
    with pytest.raises(NotFiniteError, match="step 1 of 2, window 1") as raised:
        list(pipeline(broken, second, steps=2))
    assert raised.value.code == "not_finite"


class NarrowVae:
    """Leaves the range of half precision, and in fp32 only if `always`."""

    def __init__(self, always: bool) -> None:
        self.dtype, self.always, self.dtypes = torch.float16, always, list[torch.dtype]()
        self.batches = list[int]()

    def float(self) -> None:
        self.dtype = torch.float32

    def to(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def decode(self, latents: Tensor) -> Any:
        assert latents.dtype == self.dtype
        self.dtypes.append(latents.dtype)
        self.batches.append(len(latents))
        fails = self.always or self.dtype == torch.float16
        return type("Decoded", (), {"sample": latents * (math.inf if fails else 1)})


def test_a_narrow_vae_is_tried_once_more() -> None:
    """Pictures out of half precision's range are decoded again in fp32, and the VAE goes back to its dtype."""
    vae = NarrowVae(always=False)
    decoded = decode(vae, torch.ones(1, 4, 2, 2, dtype=torch.float16))
    assert decoded.isfinite().all()
    assert (vae.dtypes, vae.dtype) == ([torch.float16, torch.float32], torch.float16)


@pytest.mark.parametrize(("frames", "batches"), [(8, [8, 4, 4]), (3, [3, 2, 1]), (1, [1, 1])])
def test_fp32_needs_no_more_memory(frames: int, batches: list[int]) -> None:
    """In fp32 half as many frames are decoded at once, and they come back in order."""
    vae, latents = NarrowVae(always=False), torch.arange(frames, dtype=torch.float16)[:, None, None, None]
    decoded = decode(vae, latents)
    assert vae.batches == batches
    assert torch.equal(decoded.argsort(dim=0), torch.arange(frames)[:, None, None, None])


@pytest.mark.parametrize(("size", "frames"), [((128, 128), 4), ((512, 512), 2), ((512, 768), 1), ((1024, 1024), 1)])
def test_large_pictures_are_decoded_by_fewer(size: tuple[int, int], frames: int) -> None:
    """As many pixels at once as two pictures of the usual size have, but never less than one picture."""
    assert decode_batch(torch.empty(20, 4, size[1] // 8, size[0] // 8)) == frames


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_broken_vae_is_not_finite(dtype: torch.dtype) -> None:
    """A VAE that fails in fp32 too ends in not_finite, after one try in fp32."""
    vae = NarrowVae(always=True)
    vae.dtype = dtype
    with pytest.raises(NotFiniteError, match="decoding"):
        decode(vae, torch.ones(1, 4, 2, 2, dtype=dtype))
    assert vae.dtypes.count(torch.float32) == 1


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": 1001}, {"steps": 1, "window": 33}, {"steps": 1, "overlap": 12}]
)
def test_impossible_options(
    pipeline: Audio2VideoPipeline, likeness: Likeness, second: Speech, options: dict[str, Any]
) -> None:
    """Options out of range are the caller's mistake."""
    with pytest.raises(InputError) as raised:
        list(pipeline(likeness, second, **options))
    assert raised.value.code == "invalid_request"


def test_sides_in_steps_of_eight(pipeline: Audio2VideoPipeline) -> None:
    """Sides that latents cannot have are refused; sides need not be equal."""
    with pytest.raises(InputError, match="60x64"):
        pipeline.prepare(np.zeros((64, 60, 3), np.uint8), np.zeros((64, 60), np.uint8))
    likeness = pipeline.prepare(np.zeros((40, 72, 3), np.uint8), np.zeros((40, 72), np.uint8))
    assert likeness.face.shape[2:] == (5, 9)
    assert likeness.nbytes > 0
