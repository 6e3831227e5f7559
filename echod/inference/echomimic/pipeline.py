"""The whole of EchoMimic on one page: noise, prepare, schedule, denoise, decode.

    pipeline = Audio2VideoPipeline(weights.load(Path("weights"), "echomimic", "cuda", torch.float16))
    likeness = pipeline.prepare(crop, mask)
    for frames in pipeline(likeness, speech, steps=6): ...

Dimensions are named in config.py.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from ..audio import Speech
from ..contract import Checkpoint, Frames, Image, Size, no_checkpoint
from ..errors import InputError
from . import audio_features
from .config import FPS, LATENT_SCALE, NOISE_CLAMP, OVERLAP, VAE_FACTOR, WINDOW
from .denoiser import BankKeys, Conditions, DenoisingUNet
from .weights import Models
from .windows import Call, Plan, together, wavefront

DECODE_BATCH = {"cuda": 8, "cpu": 2}  # frames; a CPU gains nothing by more, and needs memory for them
DECODE_PIXELS = 2 * 512 * 512  # of a batch: with more, decoding and not denoising would set the peak of memory
DRAWN = 256  # planes (h, w) of noise drawn at once; torch draws 16 numbers together, so a multiple of 16
MAX_STEPS = 1000  # as many as the model was trained with

Order = Callable[[Plan], Iterator[Call]]


class NotFiniteError(ArithmeticError):
    """A model's numbers left the range of its dtype; the clip would be black from there on."""

    code = "not_finite"


@dataclass(frozen=True)
class Likeness:
    """What a portrait is to the denoiser: face features (1, C, h, w), keys and values of its reference tokens."""

    face: Tensor
    bank: BankKeys

    @property
    def nbytes(self) -> int:
        return self.face.nbytes + sum(key.nbytes + value.nbytes for key, value in self.bank.values())


class Audio2VideoPipeline:
    """The loaded models of one engine, as one thing that turns a likeness and a speech into frames.

    `windows_at_once` batches the calls of the denoiser: faster on a large GPU, the same plan, equal up to rounding.
    """

    def __init__(self, models: Models, *, windows_at_once: int = 1) -> None:
        self.models = models
        self.windows_at_once = windows_at_once
        weight = models.denoiser.conv_in.weight
        self.device, self.dtype = weight.device, weight.dtype
        if self.device.type == "cuda":
            for module in (models.denoiser, models.vae, models.reference):
                convert_conv2d_weight_memory_format(module, torch.channels_last)

    @torch.inference_mode()
    def prepare(self, crop: Image, mask: Image) -> Likeness:
        """From the picture (H, W, 3) and its face mask (H, W), 255 where the face is; sides are multiples of 8."""
        size = crop.shape[1], crop.shape[0]
        check_sides(size)
        models = self.models
        latents = encode(models.vae, to_picture(crop).to(self.device))
        face = models.face_locator(to_mask(mask).to(self.device, self.dtype))
        bank = models.denoiser.bank_keys(models.reference.bank(latents))
        if not all_finite(face, *(part for pair in bank.values() for part in pair)):
            raise NotFiniteError(
                f"the portrait's features are not finite in {self.dtype}; try another dtype or portrait"
            )
        return Likeness(face, bank)

    @torch.inference_mode()
    def hear(self, speech: Speech, checkpoint: Checkpoint = no_checkpoint) -> Tensor:
        """Audio features (T, layers + 1, D) of a recording."""
        chunks = math.ceil(speech.seconds / audio_features.CHUNK_SECONDS)
        checkpoint("audio", 0, chunks)
        features = audio_features.encode(
            self.models.whisper, speech.blocks, self.dtype, lambda done: checkpoint("audio", min(done, chunks), chunks)
        )
        if not all_finite(features):
            raise NotFiniteError(f"the audio features are not finite in {self.dtype}; try another dtype")
        return features

    @torch.inference_mode()
    def __call__(
        self,
        likeness: Likeness,
        speech: Speech,
        *,
        steps: int,
        guidance: float = 1.0,
        seed: int = 420,
        fps: int = FPS,
        window: int = WINDOW,
        overlap: int = OVERLAP,
        order: Order = wavefront,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> Iterator[Frames]:
        """The clip's frames, ceil(seconds * fps) of them, in batches as they become final.

        Raises InputError (invalid_request), NotFiniteError and whatever `checkpoint` raises.
        """
        wanted = math.ceil(round(speech.seconds * fps, 6))
        scheduler = schedule(self.models.config.scheduler, steps)
        audio = self.hear(speech, checkpoint)
        plan = make_plan(audio_features.frame_count(len(audio), fps), steps, window, overlap)
        latents = noise(plan.frames, likeness.face.shape[2:], seed, self.dtype).to(self.device)
        shown, at_once = 0, decode_batch(self.device.type, latents)
        for final in denoise(
            self.models.denoiser,
            latents,
            lambda frames: audio_features.frame_audio(audio, frames, fps),
            likeness,
            scheduler,
            plan,
            guidance=guidance,
            order=order,
            at_once=self.windows_at_once,
            checkpoint=checkpoint,
        ):
            while shown < min(final, wanted):
                checkpoint("decode", shown, wanted)
                batch = latents[shown : min(final, wanted, shown + at_once)]
                yield to_frames(decode(self.models.vae, batch))
                shown += len(batch)
        checkpoint("decode", wanted, wanted)

    @torch.inference_mode()
    def try_out(self, likeness: Likeness) -> None:
        """One window and one batch of pictures, from nothing: what is slow at the first time is slow now."""
        positions = torch.zeros(1, 1 + len(self.models.whisper.blocks), self.models.config.whisper.n_audio_state)
        audio = positions.to(self.device, self.dtype)
        latents = noise(WINDOW, likeness.face.shape[2:], 0, self.dtype).to(self.device)
        for _ in denoise(
            self.models.denoiser,
            latents,
            lambda frames: audio_features.frame_audio(audio, frames, FPS),
            likeness,
            schedule(self.models.config.scheduler, 1),
            Plan(WINDOW, 1),
        ):
            decode(self.models.vae, latents[: decode_batch(self.device.type, latents)])


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


def make_plan(frames: int, steps: int, window: int, overlap: int) -> Plan:
    try:
        return Plan(frames, steps, window, overlap)
    except ValueError as error:
        raise InputError("invalid_request", str(error)) from error


def denoise(
    denoiser: DenoisingUNet,
    latents: Tensor,
    audio: Callable[[list[int]], Tensor],
    likeness: Likeness,
    scheduler: DDIMScheduler,
    plan: Plan,
    *,
    guidance: float = 1.0,
    order: Order = wavefront,
    at_once: int = 1,
    checkpoint: Checkpoint = no_checkpoint,
) -> Iterator[int]:
    """Denoise `latents` (N, 4, h, w) in place, each frame at its own pace; yields how many, from the first, are final.

    `audio` gives what frames attend to, (len(frames), 50, D). Raises NotFiniteError at the step where it happens.
    """
    timesteps = [int(timestep) for timestep in scheduler.timesteps]
    shifts = [denoiser.time_shifts(timestep) for timestep in timesteps]
    average, early, final, done = Average(plan), set[int](), 0, 0
    for calls in together(order(plan), at_once):
        checkpoint("denoise", done, plan.calls)
        step, frames = calls[0][0], [frame for call in calls for frame in plan.covered(call)]
        given = Conditions(shifts[step], audio(frames), likeness.face, likeness.bank, len(frames) // len(calls))
        velocities = predict(denoiser, latents[frames], given, guidance)
        if not all_finite(velocities):
            raise NotFiniteError(f"step {step + 1} of {plan.steps}, window {calls[0][1] + 1}: latents are not finite")
        ready, mean = average.add(calls, velocities)
        if ready:
            moved = scheduler.step(mean, timesteps[step], latents[ready].float(), eta=0.0).prev_sample
            latents[ready] = moved.to(latents.dtype)
        if step == plan.steps - 1:
            early.update(ready)
            while final in early:
                early.remove(final)
                final += 1
        done += len(calls)
        yield final
    checkpoint("denoise", done, plan.calls)


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


class Average:
    """The mean over the windows that cover a frame, added up in their order whatever order they come in."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._waiting: dict[int, dict[int, Tensor]] = defaultdict(dict)  # frame -> window -> (4, h, w)

    def add(self, calls: list[Call], velocities: Tensor) -> tuple[list[int], Tensor]:
        """Take the results of calls of one step; gives the frames that lack no window any more, and their means."""
        step, ready = calls[0][0], []
        covered = [(call[1], frame) for call in calls for frame in self._plan.covered(call)]
        for (window, frame), velocity in zip(covered, velocities, strict=True):
            self._waiting[frame][window] = velocity
            if len(self._waiting[frame]) == len(self._plan.covering(step, frame)):
                ready.append(frame)
        means = [_mean(self._waiting.pop(frame)) for frame in ready]
        return ready, torch.stack(means) if means else velocities[:0]


def _mean(parts: dict[int, Tensor]) -> Tensor:
    first, *others = (parts[window] for window in sorted(parts))
    return sum(others, first) / len(parts)


def check_sides(size: Size) -> None:
    if any(side < VAE_FACTOR or side % VAE_FACTOR for side in size):
        raise InputError(
            "unsupported_size",
            f"size {size[0]}x{size[1]} cannot be made: both must be multiples of {VAE_FACTOR} pixels",
        )


def to_picture(crop: Image) -> Tensor:
    """(H, W, 3) RGB to (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255 * 2 - 1


def to_mask(mask: Image) -> Tensor:
    """(H, W) to (1, 1, H, W) in [0, 1]; greys at its edge stay greys."""
    return torch.from_numpy(mask.copy())[None, None].float() / 255


def encode(vae: Any, picture: Tensor) -> Tensor:
    """(1, 3, H, W) to latents (1, 4, h, w): the mean, nothing is drawn."""

    def mean(picture: Tensor) -> Tensor:
        latents: Tensor = vae.encode(picture).latent_dist.mean * LATENT_SCALE
        return latents

    return in_range(vae, mean, picture.to(vae.dtype), "encoding the portrait")


def decode(vae: Any, latents: Tensor) -> Tensor:
    """(n, 4, h, w) to pictures (n, 3, H, W), about -1 to 1."""

    def picture(latents: Tensor) -> Tensor:
        decoded: Tensor = vae.decode(latents / LATENT_SCALE).sample
        return decoded

    return in_range(vae, picture, latents, "decoding frames")


def decode_batch(device: str, latents: Tensor) -> int:
    """How many frames of latents (N, 4, h, w) are decoded at once."""
    pixels = latents[0, 0].numel() * VAE_FACTOR**2
    return max(1, min(DECODE_BATCH.get(device, 1), DECODE_PIXELS // pixels))


def in_range(vae: Any, work: Callable[[Tensor], Tensor], given: Tensor, what: str) -> Tensor:
    """What the VAE makes of `given`; where half precision is too narrow for it, made once more in fp32.

    Then by halves: a number takes twice the memory.
    """
    made = work(given)
    if all_finite(made):
        return made
    dtype = given.dtype
    if dtype != torch.float32:
        vae.float()
        try:
            made = torch.cat([work(part.float()) for part in given.chunk(2)])
        finally:
            vae.to(dtype)
        if all_finite(made):
            return made
    raise NotFiniteError(f"{what}: the VAE's output is not finite, in fp32 neither")


def to_frames(pictures: Tensor) -> Frames:
    """(n, 3, H, W) to (n, H, W, 3) uint8, truncated as the authors do."""
    scaled = (pictures.float() / 2 + 0.5).clamp(0, 1) * 255
    frames: Frames = scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames


def all_finite(*tensors: Tensor) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
