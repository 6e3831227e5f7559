"""The whole of EchoMimic on one page: noise, prepare, schedule, denoise, decode.

    pipeline = Audio2VideoPipeline(weights.load(Path("weights"), "echomimic", "cuda", torch.float16))
    likeness = pipeline.prepare(crop, mask)
    for frames in pipeline(likeness, speech, steps=6): ...

Dimensions are named in config.py.
"""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from .. import contract
from ..audio import Speech
from ..contract import HELPING, WAITING, Checkpoint, Frames, Image, Size, no_checkpoint
from ..errors import InputError
from ..limits import DEFAULT_SEED
from ..machine import processor
from . import audio_features
from .board import GRID, Batch, Board, Order
from .config import FPS, LATENT_SCALE, NOISE_CLAMP, OVERLAP, VAE_FACTOR, WINDOW
from .denoiser import BankKeys, Conditions, DenoisingUNet
from .shelf import UnfitError
from .weights import Models
from .windows import Call, Plan, wavefront

DECODE_PIXELS = 2 * 512 * 512  # at once: with more, decoding and not denoising would set the peak of memory
DRAWN = 256  # planes (h, w) of noise drawn at once; torch draws 16 numbers together, so a multiple of 16
MAX_STEPS = 1000  # as many as the model was trained with
WAIT = 0.002  # seconds between two looks for something to do


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
    """The loaded models of one engine, as one thing that turns a likeness and a speech into frames."""

    def __init__(self, models: Models) -> None:
        self.models = models
        weight = models.denoiser.conv_in.weight
        self.device, self.dtype = weight.device, weight.dtype
        if self.device.type == "cuda":
            for module in (models.denoiser, models.vae, models.reference):
                convert_conv2d_weight_memory_format(module, torch.channels_last)

    @property
    def numbers(self) -> str:
        """What computes, in which dtype, by which software: where any of it differs the last bits may."""
        cuda = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if cuda else f"{platform.machine()} x{torch.get_num_threads()}"
        return f"{name} {self.dtype} torch {torch.__version__}"

    @property
    def computed(self) -> dict[str, str]:
        """What of that a clip's manifest names; the versions stand there too."""
        dtype = str(self.dtype).removeprefix("torch.")
        if self.device.type == "cuda":
            return {"device": torch.cuda.get_device_name(self.device), "dtype": dtype}
        return {"device": processor(), "dtype": dtype, "threads": str(torch.get_num_threads())}

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
        seed: int = DEFAULT_SEED,
        fps: int = FPS,
        window: int = WINDOW,
        overlap: int = OVERLAP,
        order: Order = wavefront,
        board: contract.Board | None = None,
        identity: str = "",
        checkpoint: Checkpoint = no_checkpoint,
    ) -> Iterator[Frames]:
        """The clip's frames, ceil(seconds * fps) of them, in batches as they become final.

        What has been computed lies on the `board`, if one is given: whoever is called with the same arguments after a
        death goes on from there. `identity` is that of the models.
        Raises InputError (invalid_request), NotFiniteError and whatever `checkpoint` raises.
        """
        clip = self.clip(likeness, speech, steps, guidance, seed, fps, window, overlap, identity, checkpoint)
        yield from clip.frames(board, order)

    def clip(
        self,
        likeness: Likeness,
        speech: Speech,
        steps: int,
        guidance: float = 1.0,
        seed: int = DEFAULT_SEED,
        fps: int = FPS,
        window: int = WINDOW,
        overlap: int = OVERLAP,
        identity: str = "",
        checkpoint: Checkpoint = no_checkpoint,
    ) -> Clip:
        """A clip to be made, or to help with, its speech heard."""
        scheduler = schedule(self.models.config.scheduler, steps)
        audio = self.hear(speech, checkpoint)
        plan = Plan(audio_features.frame_count(len(audio), fps), steps, window, overlap)
        sampler = Sampler(self.models.denoiser, lambda at: audio_features.frame_audio(audio, at, fps), likeness,
                          scheduler, plan, guidance)  # fmt: skip
        inputs = [each.double().sum().item() for each in (likeness.face, audio)]
        decisive = repr((identity, self.numbers, inputs, guidance, seed, fps))
        return Clip(self, sampler, math.ceil(round(speech.seconds * fps, 6)), seed, decisive, checkpoint)

    def pictures(self, latents: Tensor) -> Tensor:
        """(n, 4, h, w) on the CPU to (n, H, W, 3) uint8, in pieces whose size depends on the frames' alone."""
        pieces = torch.split(latents.to(self.device), decode_batch(latents))
        return torch.cat([to_frames(decode(self.models.vae, piece)) for piece in pieces])

    @torch.inference_mode()
    def try_out(self, likeness: Likeness) -> None:
        """One window and one batch of pictures, from nothing: what is slow at the first time is slow now."""
        positions = torch.zeros(1, 1 + len(self.models.whisper.blocks), self.models.config.whisper.n_audio_state)
        audio = positions.to(self.device, self.dtype)
        latents, plan = noise(WINDOW, likeness.face.shape[2:], 0, self.dtype), Plan(WINDOW, 1)
        scheduler = schedule(self.models.config.scheduler, 1)
        sampler = Sampler(self.models.denoiser, lambda at: audio_features.frame_audio(audio, at, FPS), likeness,
                          scheduler, plan)  # fmt: skip
        sampler((0, 0), latents)
        self.pictures(latents[:GRID])


class Clip:
    """A clip in the making: what is to be computed, and what it takes."""

    def __init__(
        self,
        pipeline: Audio2VideoPipeline,
        sampler: Sampler,
        wanted: int,
        seed: int,
        identity: str,
        checkpoint: Checkpoint,
    ) -> None:
        self.pipeline, self.sampler, self.wanted = pipeline, sampler, wanted
        self.seed, self.identity, self.checkpoint = seed, identity, checkpoint

    @torch.inference_mode()
    def frames(self, place: contract.Board | None, order: Order = wavefront) -> Iterator[Frames]:
        """All frames in order, whoever computes them."""
        plan, checkpoint = self.sampler.plan, self.checkpoint
        sides = self.sampler.likeness.face.shape[2:]
        latents = noise(plan.frames, sides, self.seed, self.pipeline.dtype)
        board = Board.begin(plan, latents, self.wanted, self.sampler.step, place, self.identity, order)
        del latents
        with contextlib.closing(board):
            while not board.complete:
                if (frames := board.show()) is not None:
                    yield frames.numpy()
                    continue
                match board.take():
                    case Batch() as batch:
                        checkpoint("decode", board.frames_shown, self.wanted)
                        pictures = self.pipeline.pictures(board.final(batch))
                        if board.next_to_show(batch):
                            yield pictures[: self.wanted - board.frames_shown].numpy()
                            board.pass_over(batch)
                        else:
                            board.add_frames(batch, pictures)
                    case (_, _) as call:
                        checkpoint("denoise", board.calls_done, plan.calls)
                        board.add(call, self.sampler(call, board.given(call)))
                        if board.calls_done == plan.calls:
                            checkpoint("denoise", plan.calls, plan.calls)
                    case None:  # others are at all that can be done
                        checkpoint(WAITING, 0, 1)
                        time.sleep(WAIT)
        checkpoint("decode", self.wanted, self.wanted)

    @torch.inference_mode()
    def help(self, place: contract.Board) -> int:
        """Compute what another process shows, for as long as that is there. Returns how many calls and batches."""
        plan, done = self.sampler.plan, 0
        size = torch.Size((plan.frames, 4, *self.sampler.likeness.face.shape[2:]))
        try:
            board = Board.join(
                plan, size, self.pipeline.dtype, self.wanted, self.sampler.step, place.directory, self.identity
            )
        except (OSError, UnfitError):  # it has not begun yet, or is over
            return 0
        with contextlib.closing(board):
            while board.attended:
                self.checkpoint(HELPING, done, plan.calls)
                try:
                    done += self._help_once(board)
                except OSError:
                    if board.attended:
                        raise
        return done

    def _help_once(self, board: Board) -> int:
        match board.take():
            case Batch() as batch:
                board.add_frames(batch, self.pipeline.pictures(board.final(batch)))
            case (_, _) as call:
                board.add(call, self.sampler(call, board.given(call)))
            case None:
                time.sleep(WAIT)
                return 0
        return 1


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
    """What the calls of one plan need beside latents. `audio` gives what frames attend to, (len(frames), 50, D)."""

    def __init__(
        self,
        denoiser: DenoisingUNet,
        audio: Callable[[list[int]], Tensor],
        likeness: Likeness,
        scheduler: DDIMScheduler,
        plan: Plan,
        guidance: float = 1.0,
    ) -> None:
        self.denoiser, self.audio, self.likeness, self.plan, self.guidance = denoiser, audio, likeness, plan, guidance
        self.scheduler = scheduler
        self.device = denoiser.conv_in.weight.device
        self.timesteps = [int(timestep) for timestep in scheduler.timesteps]
        self.shifts = [denoiser.time_shifts(timestep) for timestep in self.timesteps]

    @torch.inference_mode()
    def __call__(self, call: Call, latents: Tensor) -> Tensor:
        """The velocities of a call's frames, (F, 4, h, w) in fp32 on the CPU. Raises NotFiniteError."""
        step, window = call
        frames = self.plan.covered(call)
        given = Conditions(self.shifts[step], self.audio(frames), self.likeness.face, self.likeness.bank, len(frames))
        velocities = predict(self.denoiser, latents.to(self.device), given, self.guidance).cpu()
        if not all_finite(velocities):
            raise NotFiniteError(f"step {step + 1} of {self.plan.steps}, window {window + 1}: latents are not finite")
        return velocities

    def step(self, level: int, velocities: Tensor, latents: Tensor) -> Tensor:
        """Latents one level on; both (n, 4, h, w) in fp32 on the CPU."""
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
    return in_range(
        vae,
        lambda given: vae.encode(given).latent_dist.mean * LATENT_SCALE,
        picture.to(vae.dtype),
        "encoding the portrait",
    )


def decode(vae: Any, latents: Tensor) -> Tensor:
    """(n, 4, h, w) to pictures (n, 3, H, W), about -1 to 1."""
    return in_range(vae, lambda given: vae.decode(given / LATENT_SCALE).sample, latents, "decoding frames")


def decode_batch(latents: Tensor) -> int:
    """How many frames of latents (N, 4, h, w) are decoded at once."""
    pixels = latents[0, 0].numel() * VAE_FACTOR**2
    return max(1, min(GRID, DECODE_PIXELS // pixels))


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


def to_frames(pictures: Tensor) -> Tensor:
    """(n, 3, H, W) to (n, H, W, 3) uint8 on the CPU, truncated as the authors do."""
    scaled = (pictures.float() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()


def all_finite(*tensors: Tensor) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
