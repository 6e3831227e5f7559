"""The contract of engines: `prepare` a portrait once, then `frames` for as many speeches as one likes.

Frames come as an iterator of batches in order, so that memory, encoding and streaming do not depend on the
clip's length. Shapes: n frames of a batch, H and W height and width in pixels; pictures are RGB uint8.
docs/engines.md tells more of it, for whoever writes an engine of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .framing import Box as Box
from .framing import Framing as Framing
from .framing import Rect as Rect
from .framing import Size as Size
from .limits import DEFAULT_SEED, MAX_FPS, MAX_SIDE, MIN_FPS, MIN_SIDE, SIDE_STEP
from .room import Room

if TYPE_CHECKING:
    from .audio import Speech

Image: TypeAlias = NDArray[np.uint8]  # (H, W, 3) RGB
Frames: TypeAlias = NDArray[np.uint8]  # (n, H, W, 3) RGB

# (stage, done, total), called in the caller's thread between windows, steps and batches and before each stage. It may
# raise (the job was cancelled) and may block for minutes (another job runs inside it): hold no lock across it.
Checkpoint: TypeAlias = Callable[[str, int, int], None]
STAGES = ("face", "audio", "reference", "denoise", "decode", "mux")  # the last is none of an engine's own
WAITING = "wait"  # the stage of a checkpoint that is passed while others compute: no step of the work
HELPING = "help"  # and of one that is passed for somebody else's clip

# Is handed what compiles, runs it when and where that may be, and returns False if it failed, or nothing was compiled;
# the engine then goes on without.
Compiling: TypeAlias = Callable[[Callable[[], None]], bool]

Show: TypeAlias = Callable[[Image], Image]  # what a clip shows of a frame; called once for each, in order


def as_it_is(frame: Image) -> Image:
    """What a clip of the frames themselves shows."""
    return frame


def no_checkpoint(stage: str, done: int, total: int) -> None:
    """The checkpoint of a caller that neither watches nor cancels."""


AS_FOUND = Framing()


@dataclass(frozen=True)
class Options:
    """What the caller may choose about the frames; None leaves the choice to the engine.

    `joins`: whether the speech goes on from that of another clip, and into that of one. An engine that brings the mouth
    to rest at either end may leave it as it is there. `live`: somebody waits for the first frame, so that an engine may
    make others if that one comes sooner, and encoding holds nothing back. An engine that can go on from the clip
    `before` does so by the file which that one left as its `end`; others leave none.
    """

    fps: int = 24
    steps: int | None = None
    guidance: float | None = None
    seed: int = DEFAULT_SEED
    joins: tuple[bool, bool] = (False, False)
    live: bool = False
    before: Path | None = None
    end: Path | None = None


@dataclass(frozen=True)
class Portrait:
    """A picture made ready for one engine and one size; engines add their own arrays.

    `crop` is the part of the full-size picture that the frames show, `faces` how many faces were seen in it, `nbytes`
    what the portrait holds in memory.
    """

    size: Size
    crop: Rect
    faces: int
    nbytes: int


@dataclass(frozen=True)
class Board:
    """Where a clip in the making may lie: a directory of its own, as long as that fits into `room`."""

    directory: Path
    room: Room


@dataclass(frozen=True)
class Loading:
    """What an engine is loaded with. An entry point of the group `echod.engines` names a function that takes it.

    `name` is that of the entry point. `weights` is the directory of model files, `device` torch's name of the only one
    to be used, `dtype` one of `limits.DTYPES`; auto leaves it to the engine. `tick` is to be called meanwhile, every
    few seconds at least, as a sign of life. What compiles kernels may be handed to `compiling`, if that is given.
    `decoder` is one of `limits.DECODERS`, and EchoMimic's alone.
    """

    name: str
    weights: Path | None
    device: str = "cpu"
    dtype: str = "auto"
    tick: Callable[[], None] = lambda: None
    compiling: Compiling | None = None
    decoder: str = "vae"


class Engine(Protocol):
    """Loaded models that turn a prepared portrait and speech into frames.

    `exact`: its frames are those of the model that it is named after, and no sketch or approximation of them.

    Two with equal `numbers` give the same bits, so that one may help the other; None: it takes no part in that.

    `shares` is the share of all work per stage and sums to 1: progress = sum(share * done / total). `windows` names the
    stage whose (done, total) count windows. `mark` is what the metadata of its clips says beside its name. What else
    decides the bits of a clip is `computed`, the kind of device with dtype and threads, and `files`, the weights;
    `approximation` in `computed` says what is done otherwise than the model's authors do.
    """

    name: str
    exact: bool
    shares: Mapping[str, float]
    windows: str
    mark: Mapping[str, str]
    numbers: str | None
    computed: Mapping[str, str]
    files: Mapping[str, Path]

    def settle(self, options: Options) -> Options:
        """The options as they are used: what was left to the engine is as it has it."""
        ...

    def prepare(
        self,
        image: Image,
        size: Size,
        box: Box | None = None,
        checkpoint: Checkpoint = no_checkpoint,
        framing: Framing = AS_FOUND,
    ) -> Portrait:
        """The portrait for `frames`. `box` is a face box from elsewhere, used only if no face is found at full size.

        With a `framing.face` it tells which one is meant, else they are counted here. Raises InputError:
        no_face_detected, unsupported_size, invalid_request.
        """
        ...

    def frames(
        self, portrait: Any, speech: Speech, options: Options, checkpoint: Checkpoint, board: Board | None = None
    ) -> Iterator[Frames]:
        """All frames of the clip in order, `clip_frames` of them, equal for equal arguments.

        On `board` lies what is computed of them, so that a later call with the same arguments goes on from there. An
        engine whose clips take seconds, such as the preview, takes no notice of it.
        """
        ...

    def help(self, board: Path, checkpoint: Checkpoint) -> int:
        """Compute for a clip whose `frames` another process iterates over with this board, for as long as it does.

        Returns how many calls and batches; 0: nothing can be done there, or not yet. Of engines without `numbers`
        nobody asks it.
        """
        ...


def check_size(size: Size) -> None:
    """Raises InputError(unsupported_size) unless both sides are in range and multiples of the step."""
    if not all(MIN_SIDE <= side <= MAX_SIDE and side % SIDE_STEP == 0 for side in size):
        raise InputError(
            "unsupported_size",
            f"size {size[0]}x{size[1]} cannot be made: width and height must be {MIN_SIDE} to {MAX_SIDE} pixels "
            f"in steps of {SIDE_STEP}",
        )


def clip_frames(seconds: float, fps: int) -> int:
    """How many frames a clip of so much speech has: the picture never ends before the sound."""
    return math.ceil(round(seconds * fps, 6))


def check_options(options: Options) -> None:
    """Raises InputError(invalid_request) for a frame rate out of range."""
    if not MIN_FPS <= options.fps <= MAX_FPS:
        raise InputError("invalid_request", f"fps {options.fps} cannot be made: it must be {MIN_FPS} to {MAX_FPS}")
