"""The preview engine: prepare a puppet, then move it to the speech."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from .. import face
from ..audio import Speech
from ..contract import (
    AS_FOUND,
    Board,
    Box,
    Checkpoint,
    Frames,
    Image,
    Loading,
    Options,
    Portrait,
    Size,
    check_options,
    check_size,
    clip_frames,
    no_checkpoint,
)
from ..framing import Framing, crop_rect
from ..machine import processor
from .mesh import find_landmarks
from .motion import Motion
from .mouth import WIDEST
from .mouth_track import MouthTrack, read_mouth
from .puppet import Puppet

BATCH = 8  # frames between two checkpoints: what this engine calls a window
BEGINNING = 2  # frames of a live clip that are enough to play


@dataclass(frozen=True)
class PreviewPortrait(Portrait):
    """A portrait with its puppet."""

    puppet: Puppet


class PreviewEngine:
    """Warps the portrait to the speech's loudness and colour. Needs no weights, no GPU and nothing prepared."""

    name = "preview"
    exact = False
    shares: Mapping[str, float] = {"face": 0.05, "audio": 0.02, "decode": 0.92, "mux": 0.01}
    windows = "decode"
    mark: Mapping[str, str] = MappingProxyType({})
    numbers: str | None = None  # its clips take seconds
    files: Mapping[str, Path] = MappingProxyType({})

    def __init__(self) -> None:
        self.computed: Mapping[str, str] = {"device": processor()}
        # Both networks load when they are first asked: now, and not under the first job.
        blank = np.zeros((64, 64, 3), np.uint8)
        face.find_faces(blank)
        find_landmarks(blank, (0, 0, 64, 64))

    def prepare(
        self,
        image: Image,
        size: Size,
        box: Box | None = None,
        checkpoint: Checkpoint = no_checkpoint,
        framing: Framing = AS_FOUND,
    ) -> PreviewPortrait:
        check_size(size)
        checkpoint("face", 0, 1)
        box, faces = face.choose(image, size, box, framing)
        rect = crop_rect(image.shape[:2], box, size, framing)
        picture = face.crop_and_resize(image, rect, size)
        scale = np.array([size[0] / (rect[2] - rect[0]), size[1] / (rect[3] - rect[1])] * 2)
        x0, y0, x1, y1 = (np.array(box) - [rect[0], rect[1], rect[0], rect[1]]) * scale
        puppet = Puppet(picture, find_landmarks(picture, (x0, y0, x1, y1)))
        checkpoint("face", 1, 1)
        return PreviewPortrait(size, rect, faces, puppet.nbytes, puppet)

    def settle(self, options: Options) -> Options:
        return replace(options, steps=None, guidance=None)  # it has neither

    def help(self, *_: object) -> int:
        return 0

    def frames(
        self,
        portrait: PreviewPortrait,
        speech: Speech,
        options: Options,
        checkpoint: Checkpoint,
        board: Board | None = None,
    ) -> Iterator[Frames]:
        check_options(options)
        total = clip_frames(speech.seconds, options.fps)
        mouth = read_mouth(speech, options.fps, total, checkpoint)
        motion = Motion(options.seed, mouth.in_pause, options.fps, options.joins)
        windows = -(-total // BATCH)
        for window in range(windows):
            checkpoint("decode", window, windows)
            batch = range(window * BATCH, min(total, (window + 1) * BATCH))
            ahead = BEGINNING if options.live and window == 0 else 0
            for frames in filter(None, (batch[:ahead], batch[ahead:])):
                yield np.stack([_pose(portrait.puppet, mouth, motion, frame, options.fps) for frame in frames])
        checkpoint("decode", windows, windows)


def _pose(puppet: Puppet, mouth: MouthTrack, motion: Motion, frame: int, fps: int) -> Image:
    time = frame / fps
    follows = motion.mouth(time)
    return puppet.pose(
        opening=follows * float(mouth.opening[frame]) * WIDEST,
        rounding=follows * float(mouth.rounding[frame]),
        lids=motion.lids(time),
        sway=motion.sway(time),
        shut=follows,
    )


def load(given: Loading) -> PreviewEngine:
    """What the entry point names."""
    return PreviewEngine()
