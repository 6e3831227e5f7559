"""The whole of EchoMimic on one page: noise, prepare, schedule, denoise, decode.

    pipeline = Audio2VideoPipeline(weights.load(Path("weights"), "echomimic", "cuda", torch.float16))
    likeness = pipeline.prepare(crop, mask)
    for frames in pipeline(likeness, speech, steps=6): ...

Dimensions are named in config.py.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import contract
from ..audio import Speech
from ..contract import Checkpoint, Frames, Image, Size, clip_frames, no_checkpoint
from ..errors import InputError
from ..limits import DEFAULT_SEED
from ..machine import processor
from . import audio_features
from .board import GRID, Order
from .card import Ways
from .chaining import End
from .clip import Clip
from .compiled import compile_all
from .config import FPS, OVERLAP, SAMPLE_RATE, VAE_FACTOR, WINDOW
from .pictures import NotFiniteError, all_finite, encode, pictures, to_mask, to_picture
from .sampler import Likeness, Sampler, noise, schedule
from .shelf import UnfitError
from .weights import Models
from .windows import Plan, cheapest, wavefront


class Audio2VideoPipeline:
    """The loaded models of one engine, as one thing that turns a likeness and a speech into frames."""

    def __init__(self, models: Models) -> None:
        self.models = models
        weight = models.denoiser.conv_in.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.ways = Ways.of(self.device)
        self.ways.take(models)
        self.compiled = False

    @property
    def numbers(self) -> str:
        """What computes, in which dtype, by which software: where any of it differs the last bits may."""
        if self.device.type == "cuda":
            card = torch.cuda.get_device_properties(self.device)
            name = f"{card.name} x{card.multi_processor_count}"  # parts of cards and kinds of one name have fewer
        else:
            name = f"{platform.machine()} x{torch.get_num_threads()}"
        how = [*self.ways.names, "compiled"] if self.compiled else self.ways.names
        return " ".join([f"{name} {self.dtype} torch {torch.__version__}", *how])

    @property
    def computed(self) -> dict[str, str]:
        """What of that a clip's manifest names; the versions stand there too."""
        dtype = str(self.dtype).removeprefix("torch.")
        if self.device.type == "cuda":
            kernels = {"kernels": "compiled"} if self.compiled else {}
            return {"device": torch.cuda.get_device_name(self.device), "dtype": dtype, **kernels}
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
        return Likeness(face.contiguous(), bank)  # as helpers read it, or what is compiled for one is not for the other

    @torch.inference_mode()
    def hear(self, speech: Speech, checkpoint: Checkpoint = no_checkpoint, *, silence: float = 0.0) -> Tensor:
        """Audio features (T, layers + 1, D) of a recording, and of seconds of `silence` behind it."""
        chunks = math.ceil(speech.seconds / audio_features.CHUNK_SECONDS)
        behind = np.zeros(max(0, round(silence * SAMPLE_RATE)), np.float32)
        checkpoint("audio", 0, chunks)
        features = audio_features.encode(
            self.models.whisper,
            lambda: chain(speech.blocks(), [behind]),
            self.dtype,
            lambda done: checkpoint("audio", min(done, chunks), chunks),
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
        live: bool = False,
        order: Order = wavefront,
        board: contract.Board | None = None,
        numbers: str | None = None,
        before: Path | None = None,
        end: Path | None = None,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> Iterator[Frames]:
        """The clip's frames, `clip_frames` of them, in batches as they become final.

        What has been computed lies on the `board`, if one is given: whoever is called with the same arguments after a
        death goes on from there. `numbers` says more exactly what computes, such as which weights. With `live` the
        frames are as many, and others: those of the plan with the fewest calls. A clip goes on from the one `before` by
        the file that this one was asked to leave as its `end`.
        Raises InputError (invalid_request), NotFiniteError and whatever `checkpoint` raises.
        """
        schedule(self.models.config.scheduler, steps)  # before anything is heard
        earlier = None if before is None else End.read(before, likeness, self.dtype)
        known = len(earlier or ())
        wanted = clip_frames(speech.seconds, fps) + known
        if live:
            plan = cheapest(wanted, steps, window, overlap, GRID)
            audio = self.hear(speech, checkpoint, silence=(plan.frames - known) / fps - speech.seconds)
        else:
            audio = self.hear(speech, checkpoint)
            plan = Plan(audio_features.frame_count(len(audio), fps) + known, steps, window, overlap)
        numbers = numbers or self.numbers
        clip = Clip(self.models, likeness, audio, plan, wanted, guidance, fps, numbers, checkpoint, earlier)
        yield from clip.frames(seed, board, order, end)

    @torch.inference_mode()
    def help(self, board: Path, checkpoint: Checkpoint = no_checkpoint, *, numbers: str | None = None) -> int:
        """Compute for a clip that another process makes on this board. Returns how many calls and batches; 0: none."""
        try:
            clip, joined = Clip.lent(self.models, board, numbers or self.numbers, checkpoint)
        except (OSError, UnfitError):
            return 0
        return clip.help(joined)

    @torch.inference_mode()
    def try_out(self, likeness: Likeness, guidance: float = 1.0) -> tuple[Tensor, Tensor]:
        """One window and one batch of pictures, from nothing: what is slow at the first time is slow now."""
        positions = torch.zeros(1, 1 + len(self.models.whisper.blocks), self.models.config.whisper.n_audio_state)
        audio = positions.to(self.device, self.dtype)
        latents, plan = noise(WINDOW, likeness.face.shape[2:], 0, self.dtype), Plan(WINDOW, 1)
        scheduler = schedule(self.models.config.scheduler, 1)
        heard = audio_features.FrameAudio(audio, WINDOW, FPS)
        sampler = Sampler(self.models.denoiser, heard, likeness, scheduler, plan, guidance)
        return sampler((0, 0), latents), pictures(self.models.decodes, latents[:GRID])

    def compile(self, likeness: Likeness, guidance: float) -> None:
        """Compile for whole windows of this size, guided or not. Raises whatever prevents it; then all is as it was."""
        modules = self.models.denoiser, self.models.decodes.decoder
        compile_all(modules, lambda: self.try_out(likeness, guidance))
        self.compiled = True


def check_sides(size: Size) -> None:
    if any(side < VAE_FACTOR or side % VAE_FACTOR for side in size):
        raise InputError(
            "unsupported_size",
            f"size {size[0]}x{size[1]} cannot be made: both must be multiples of {VAE_FACTOR} pixels",
        )
