"""The engine `nutcracker`: the louder the speech, the further the jaw drops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from echod.inference import contract, face
from echod.inference.audio import RATE, Speech
from echod.inference.framing import crop_rect

MOUTH = 0.72  # of the way from the top of a face to its chin
WIDEST = 0.12  # of a face's height
LOUD = 0.2  # root mean square of samples, full scale 1


@dataclass(frozen=True)
class Wooden(contract.Portrait):
    """The crop as it is shown, and where its jaw is: left, mouth, right, chin in pixels."""

    picture: contract.Image
    jaw: tuple[int, int, int, int]

    def opened(self, share: float) -> contract.Image:
        """Always a new array: what was given once is encoded later, in another thread."""
        left, mouth, right, chin = self.jaw
        drop, shown = round(share * WIDEST * (chin - mouth) / (1 - MOUTH)), self.picture.copy()
        shown[mouth + drop : chin, left:right] = self.picture[mouth : chin - drop, left:right]
        shown[mouth : mouth + drop, left:right] = (40, 10, 10)
        return shown


class Nutcracker:
    name, exact = "nutcracker", True
    shares: Mapping[str, float] = {"face": 0.1, "decode": 0.9}
    windows = "decode"
    mark: Mapping[str, str] = {"jaw": "wooden"}
    computed: Mapping[str, str] = {}
    files: Mapping[str, Path] = {}
    numbers: str | None = None

    def settle(self, options: contract.Options) -> contract.Options:
        return replace(options, steps=None, guidance=None)  # it has neither

    def prepare(
        self, image: contract.Image, size: contract.Size, box: contract.Box | None = None,
        checkpoint: contract.Checkpoint = contract.no_checkpoint, framing: contract.Framing = contract.AS_FOUND,
    ) -> Wooden:  # fmt: skip
        contract.check_size(size)
        checkpoint("face", 0, 1)
        box, faces = face.choose(image, size, box, framing)
        crop = crop_rect(image.shape[:2], box, size, framing)
        picture = face.crop_and_resize(image, crop, size)
        scale = np.array([size[0] / (crop[2] - crop[0]), size[1] / (crop[3] - crop[1])] * 2)
        seen = np.clip((np.array(box) - [*crop[:2], *crop[:2]]) * scale, 0, [*size, *size])
        left, top, right, chin = (int(value) for value in seen)
        mouth = round(top + MOUTH * (chin - top))
        checkpoint("face", 1, 1)
        return Wooden(size, crop, faces, picture.nbytes, picture, (left, mouth, right, chin))

    def frames(
        self, portrait: Wooden, speech: Speech, options: contract.Options, checkpoint: contract.Checkpoint,
        board: contract.Board | None = None,
    ) -> Iterator[contract.Frames]:  # fmt: skip
        contract.check_options(options)
        total = contract.clip_frames(speech.seconds, options.fps)
        levels = loudness(speech, options.fps)
        for frame in range(total):
            checkpoint("decode", frame, total)
            yield portrait.opened(min(1.0, next(levels, 0.0) / LOUD))[None]
        checkpoint("decode", total, total)

    def help(self, board: Path, checkpoint: contract.Checkpoint) -> int:
        return 0  # its clips take seconds


def loudness(speech: Speech, fps: int) -> Iterator[float]:
    """Of each frame's time; no more of the speech is held than that."""
    held, frame = np.zeros(0, np.float32), 0
    for block in speech.blocks():
        held = np.concatenate([held, block])
        while len(held) >= (due := (frame + 1) * RATE // fps - frame * RATE // fps):
            yield float(np.sqrt(np.mean(held[:due] ** 2)))
            held, frame = held[due:], frame + 1


def load(given: contract.Loading) -> Nutcracker:
    """What the entry point names. Weights would be read from `given.weights`, on to `given.device`."""
    return Nutcracker()
