"""EchoMimic behind the contract of engines, and `generate_video`, the way in for programs without the daemon."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
import torch

from .. import face, machine
from ..audio import Speech
from ..contract import (
    AS_FOUND,
    Board,
    Box,
    Checkpoint,
    Compiling,
    Frames,
    Image,
    Loading,
    Options,
    Portrait,
    Size,
    check_options,
    no_checkpoint,
)
from ..errors import InputError
from ..framing import Framing
from . import layout, weights
from .config import OVERLAP, PRESETS, WINDOW
from .pictures import NotFiniteError
from .pipeline import Audio2VideoPipeline, check_sides
from .sampler import Likeness
from .weights import Models

log = logging.getLogger("echod.engine")

# TFLOP per frame at 512x512: a step of the denoiser, with what windows share computed twice; decoding.
STEP_COST = 1.25 * WINDOW / (WINDOW - OVERLAP)
DECODE_COST = {"vae": 2.5, "taesd": 0.14}
REMEDY = "set dtype to auto or float32 (`echod serve --dtype`)"
FIXED = {"face": 0.01, "reference": 0.01, "audio": 0.01, "mux": 0.01}  # shares of all work


@dataclass(frozen=True)
class EchoMimicPortrait(Portrait):
    """A portrait with what the denoiser sees of it."""

    likeness: Likeness


class EchoMimicEngine:
    """One row of the table of presets, with its models. `window` frames at a time, sharing `overlap` of them."""

    windows = "denoise"

    def __init__(
        self,
        name: str,
        models: Models,
        *,
        window: int = WINDOW,
        overlap: int = OVERLAP,
        files: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.files = files
        self.preset = PRESETS[name]
        self.pipeline = Audio2VideoPipeline(models)
        self.window, self.overlap = window, overlap
        decoder = "vae" if models.taesd is None else "taesd"
        self.shares = _shares(self.preset.steps * (2 if self.preset.guidance > 1 else 1), DECODE_COST[decoder])
        self.approximates = ", ".join(filter(None, (self.preset.approximates, "taesd" if models.taesd else "")))
        self.exact = not self.approximates
        self._fingerprint = models.fingerprint()
        self._name_what_computes()
        weights_are = {"weights": "small random ones, not EchoMimic's"} if models.tiny else {}
        self.mark: Mapping[str, str] = weights_are | self._approximation

    def _name_what_computes(self) -> None:
        self.numbers: str | None = f"{self.pipeline.numbers} weights {self._fingerprint}"
        self.computed: Mapping[str, str] = self.pipeline.computed | self._approximation

    @property
    def _approximation(self) -> dict[str, str]:
        return {"approximation": self.approximates} if self.approximates else {}

    @classmethod
    def load(
        cls,
        name: str,
        directory: Path,
        device: str,
        dtype: str = "auto",
        tick: Callable[[], None] = lambda: None,
        compiling: Compiling | None = None,
        decoder: str = "vae",
    ) -> Self:
        """Load the models and run one window, in one of `limits.DTYPES`, with one of `limits.DECODERS`.

        Raises WeightsError, NotFiniteError.
        """
        if dtype != "auto":
            return cls._load(name, directory, device, dtype, tick, compiling, decoder)
        *narrow, widest = machine.dtypes(device)
        for each in narrow:
            try:
                return cls._load(name, directory, device, each, tick, compiling, decoder)
            except (NotFiniteError, layout.WeightsError) as error:
                if error.code != NotFiniteError.code:
                    raise
                log.warning("%s is not finite in %s here, and is tried in the next dtype: %s", name, each, str(error))
            gc.collect()  # a card that has room for the models once is to have it for them again
        return cls._load(name, directory, device, widest, tick, compiling, decoder)

    @classmethod
    def _load(
        cls,
        name: str,
        directory: Path,
        device: str,
        dtype: str,
        tick: Callable[[], None],
        compiling: Compiling | None,
        decoder: str,
    ) -> Self:
        sets = (name, decoder) if decoder == layout.TAESD.module else (name,)
        paths = [path for each in sets for path in layout.require(directory, each).values()]
        files = {path.relative_to(directory).as_posix(): path for path in paths}
        models = weights.load(directory, name, device, getattr(torch, dtype), tick, decoder)
        engine = cls(name, models, files=files)
        try:
            engine.warm_up(compiling)
        except NotFiniteError as error:
            if dtype == "float32":
                raise
            raise NotFiniteError(f"{name} is not finite with dtype {dtype} here ({error}); {REMEDY}") from error
        return engine

    def warm_up(self, compiling: Compiling | None = None) -> None:
        """Run every model once: at the usual size on CUDA, where kernels are chosen by size, else at the smallest.

        Where a card is good for it, `compiling` is then handed what compiles for that size.
        """
        side = 512 if self.pipeline.device.type == "cuda" else 64
        blank = np.zeros((side, side, 3), np.uint8)
        likeness, guidance = self.pipeline.prepare(blank, blank[..., 0]), self.preset.guidance
        self.pipeline.try_out(likeness, guidance)
        if compiling and self.pipeline.ways.compiles:
            compiling(lambda: self.pipeline.compile(likeness, guidance))
            self._name_what_computes()

    def prepare(
        self,
        image: Image,
        size: Size,
        box: Box | None = None,
        checkpoint: Checkpoint = no_checkpoint,
        framing: Framing = AS_FOUND,
        *,
        full_frame: bool = False,
    ) -> EchoMimicPortrait:
        """`full_frame` looks for no face: the middle of the whole picture, for pictures without one."""
        check_sides(size)
        checkpoint("face", 0, 1)
        found, faces = (None, 1) if full_frame else face.choose(image, size, box, framing)
        crop, mask, rect = face.crop_and_pad(image, found, size, framing)
        checkpoint("face", 1, 1)
        checkpoint("reference", 0, 1)
        likeness = self.pipeline.prepare(crop, mask)
        checkpoint("reference", 1, 1)
        return EchoMimicPortrait(size, rect, faces, likeness.nbytes, likeness)

    def frames(
        self,
        portrait: EchoMimicPortrait,
        speech: Speech,
        options: Options,
        checkpoint: Checkpoint,
        board: Board | None = None,
    ) -> Iterator[Frames]:
        check_options(options)
        used = self.settle(options)
        assert used.steps is not None and used.guidance is not None
        return self.pipeline(
            portrait.likeness,
            speech,
            steps=used.steps,
            guidance=used.guidance,
            seed=options.seed,
            fps=options.fps,
            window=self.window,
            overlap=self.overlap,
            live=options.live,
            board=board,
            numbers=self.numbers,
            before=options.before,
            end=options.end,
            checkpoint=checkpoint,
        )

    def settle(self, options: Options) -> Options:
        return replace(
            options,
            steps=self.preset.steps if options.steps is None else options.steps,
            guidance=self.preset.guidance if options.guidance is None else options.guidance,
        )

    def help(self, board: Path, checkpoint: Checkpoint) -> int:
        return self.pipeline.help(board, checkpoint, numbers=self.numbers)


def _shares(passes: int, decode: float) -> Mapping[str, float]:
    """Share of all work per stage, for a number of passes of the denoiser and the cost of decoding."""
    denoise, rest = passes * STEP_COST, 1 - sum(FIXED.values())
    return FIXED | {
        "denoise": rest * denoise / (denoise + decode),
        "decode": rest * decode / (denoise + decode),
    }


def load(given: Loading) -> EchoMimicEngine:
    """What the entry points name. Raises WeightsError, and InputError without a directory of weights."""
    if given.weights is None:
        name = given.name
        raise InputError("model_not_loaded", f"{name} needs a directory of weights; `echod weights pull {name}`")
    return EchoMimicEngine.load(
        given.name, given.weights, given.device, given.dtype, given.tick, given.compiling, given.decoder
    )
