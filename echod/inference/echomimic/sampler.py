"""Noise, schedule, and the calls of the denoiser in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from ..errors import InputError
from .config import NOISE_CLAMP
from .denoiser import BankKeys, Conditions, DenoisingUNet
from .motion import parting_mask
from .pictures import NotFiniteError, all_finite, to_device, to_host
from .windows import Call, Plan

DRAWN = 256  # planes (h, w) of noise drawn at once; torch draws 16 numbers together, so a multiple of 16
MAX_STEPS = 1000  # as many as the model was trained with


@dataclass(frozen=True)
class Likeness:
    """What a portrait is to the denoiser: face features (1, C, h, w), keys and values of its reference tokens."""

    face: Tensor
    bank: BankKeys

    @property
    def nbytes(self) -> int:
        return self.face.nbytes + sum(key.nbytes + value.nbytes for key, value in self.bank.values())

    @property
    def sides(self) -> torch.Size:
        """Height and width of the latents that go with it."""
        return self.face.shape[2:]

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, on the CPU, for `of`. Keys and values lie in memory as a linear layer makes them."""
        parts = {(path, part): each for path, pair in self.bank.items() for part, each in zip("kv", pair, strict=True)}
        found = {f"{path}.{part}": each.transpose(1, 2).cpu() for (path, part), each in parts.items()}
        return {"face": self.face.cpu(), **found}

    @classmethod
    def of(cls, tensors: dict[str, Tensor], device: torch.device) -> Self:
        found = {name: each.to(device) for name, each in tensors.items() if name != "face"}
        paths = dict.fromkeys(name.rpartition(".")[0] for name in found)
        bank = {path: (found[f"{path}.k"].transpose(1, 2), found[f"{path}.v"].transpose(1, 2)) for path in paths}
        return cls(tensors["face"].to(device), bank)


def noise(frames: int, sides: torch.Size | tuple[int, int], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, 4, h, w). Drawn on the CPU in fp32, channels first: a seed means the same video everywhere.

    The values are those of one draw, but it is made in pieces, so that the host holds the noise once.
    """
    generator = torch.Generator().manual_seed(seed)
    made, total = torch.empty((frames, 4, *sides), dtype=dtype), 4 * frames
    for start in range(0, max(0, total - DRAWN) + 1, DRAWN):
        # The last piece takes the rest too: a piece of fewer than 16 numbers is drawn in another way.
        planes = torch.arange(start, start + DRAWN if start + 2 * DRAWN <= total else total)
        drawn = torch.randn((len(planes), *sides), generator=generator).clamp_(-NOISE_CLAMP, NOISE_CLAMP)
        made[planes % frames, planes // frames] = drawn.to(dtype)
    return made


def schedule(config: Any, steps: int) -> DDIMScheduler:
    """diffusers' DDIM with its timesteps set. Raises InputError (invalid_request)."""
    if not 1 <= steps <= MAX_STEPS:
        raise InputError("invalid_request", f"steps {steps} cannot be made: it must be 1 to {MAX_STEPS}")
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(steps)
    return scheduler


class Sampler:
    """What the calls of one plan need beside latents. `audio` gives what frames attend to, (len(frames), 50, D).

    `before` are the latents (n, 4, h, w) that the first n frames are to end as.
    """

    def __init__(
        self,
        denoiser: DenoisingUNet,
        audio: Callable[[list[int]], Tensor],
        likeness: Likeness,
        scheduler: DDIMScheduler,
        plan: Plan,
        guidance: float = 1.0,
        before: Tensor | None = None,
    ) -> None:
        self.denoiser, self.audio, self.likeness, self.plan, self.guidance = denoiser, audio, likeness, plan, guidance
        self.before = before
        self.scheduler = scheduler
        self.device = denoiser.conv_in.weight.device
        self.timesteps = [int(timestep) for timestep in scheduler.timesteps]
        self.shifts = [denoiser.time_shifts(timestep) for timestep in self.timesteps]
        places, frames = denoiser.places, min(plan.window, plan.frames)
        self.mask = parting_mask(places, frames, likeness.face) if places > 1 else None

    @torch.inference_mode()
    def __call__(self, call: Call, latents: Tensor) -> Tensor:
        """The velocities of a call's frames, (F, 4, h, w) in fp32 on the CPU. Raises NotFiniteError."""
        step, window = call
        frames = self.plan.covered(call)
        given = Conditions(self.shifts[step], self.audio(frames), self.likeness.face, self.likeness.bank, len(frames),
                           mask=self.mask)  # fmt: skip
        (velocities,) = to_host(predict(self.denoiser, to_device(latents, self.device), given, self.guidance))
        if not all_finite(velocities):
            raise NotFiniteError(f"step {step + 1} of {self.plan.steps}, window {window + 1}: latents are not finite")
        return velocities

    def step(self, level: int, frames: list[int], velocities: Tensor, latents: Tensor) -> Tensor:
        """Latents of these frames one level on; all (n, 4, h, w) in fp32 on the CPU."""
        known = [] if self.before is None else [at for at, frame in enumerate(frames) if frame < len(self.before)]
        if self.before is None or not known:
            return self._moved(level, velocities, latents)
        # Frames whose end is known move straight to it, with the velocity of the noise that is left in them.
        end = self.before[[frames[at] for at in known]].float()
        share = self.scheduler.alphas_cumprod[self.timesteps[level]]
        noise = (latents[known] - share.sqrt() * end) / (1 - share).sqrt()
        towards = velocities.index_copy(0, torch.tensor(known), share.sqrt() * noise - (1 - share).sqrt() * end)
        moved = self._moved(level, towards, latents)
        if level + 1 == len(self.timesteps):  # where the schedule leaves a little noise
            moved[known] = end
        return moved

    def _moved(self, level: int, velocities: Tensor, latents: Tensor) -> Tensor:
        moved: Tensor = self.scheduler.step(velocities, self.timesteps[level], latents, eta=0.0).prev_sample
        return moved


def predict(denoiser: DenoisingUNet, latents: Tensor, given: Conditions, guidance: float) -> Tensor:
    """The velocity (n, 4, h, w) in fp32, guided where `guidance` is above 1: then every row is computed twice."""
    if latents.device.type == "cuda":
        latents = latents.contiguous(memory_format=torch.channels_last)
    if guidance <= 1:
        velocity: Tensor = denoiser(latents, given)
        return velocity.float()
    both = denoiser(torch.cat([latents, latents]), replace(given, free=len(latents)))
    free, held = both.float().chunk(2)
    return torch.add(free, held - free, alpha=guidance)
