"""A clip in the making: shown by the process that owns its board, helped with by others of the host."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from .. import contract
from ..contract import HELPING, WAITING, Checkpoint, Frames
from .audio_features import FrameAudio
from .board import Batch, Board, Order
from .chaining import KEPT, End
from .pictures import pictures
from .sampler import Likeness, Sampler, noise, schedule
from .shelf import UnfitError, read
from .weights import Models
from .windows import Call, Plan, wavefront

LENT = "clip"  # what whoever helps needs beside the board, in its directory
WAIT = 0.002  # seconds between two looks for something to do


class Clip:
    """`wanted` frames of a plan; `audio` is what was heard, features (T, layers + 1, D).

    With the end of the clip `before` its frames are the first of the plan's, and are not shown. `numbers` says what
    computes: whoever helps must compute with the same.
    """

    def __init__(
        self,
        models: Models,
        likeness: Likeness,
        audio: Tensor,
        plan: Plan,
        wanted: int,
        guidance: float,
        fps: int,
        numbers: str,
        checkpoint: Checkpoint,
        before: End | None = None,
    ) -> None:
        self.models, self.audio, self.wanted, self.fps = models, audio, wanted, fps
        self.numbers, self.checkpoint, self.before = numbers, checkpoint, before
        scheduler = schedule(models.config.scheduler, plan.steps)
        heard = FrameAudio(audio, plan.frames, fps, None if before is None else before.audio)
        known = None if before is None else before.latents
        self.sampler = Sampler(models.denoiser, heard, likeness, scheduler, plan, guidance, known)

    def frames(
        self, seed: int, place: contract.Board | None, order: Order = wavefront, end: Path | None = None
    ) -> Iterator[Frames]:
        """All frames that are shown, in order, whoever computes them. Their end is left in the file `end`."""
        passed = len(self.before or ())
        for frames in self._frames(seed, place, order, end):
            if len(frames) > passed:
                yield frames[passed:]
            passed = max(0, passed - len(frames))

    @torch.inference_mode()
    def _frames(self, seed: int, place: contract.Board | None, order: Order, end: Path | None) -> Iterator[Frames]:
        sampler, plan, told = self.sampler, self.sampler.plan, False
        latents = noise(plan.frames, sampler.likeness.sides, seed, self.audio.dtype)
        given = [sampler.likeness.face, self.audio, *([self.before.latents, self.before.audio] if self.before else [])]
        inputs = [each.double().sum().item() for each in given]
        identity = repr((self.numbers, inputs, sampler.guidance, seed, self.fps))
        board = Board.begin(plan, latents, self.wanted, sampler.step, place, identity, order)
        del latents
        with contextlib.closing(board):
            board.lend(LENT, lambda: self._lent(identity))
            while not board.complete:
                if (frames := board.show()) is not None:
                    self.checkpoint("decode", board.frames_shown, self.wanted)
                    yield frames.numpy()
                    continue
                # Before anything is taken: a checkpoint may last for minutes, and others would wait for what it was.
                match board.ready:
                    case Batch():
                        if not told and board.calls_done == plan.calls:
                            told = True
                            self.checkpoint("denoise", plan.calls, plan.calls)
                        self.checkpoint("decode", board.frames_shown, self.wanted)
                    case (_, _):
                        self.checkpoint("denoise", board.calls_done, plan.calls)
                    case None:  # others are at all that can be done
                        self.checkpoint(WAITING, 0, 1)
                task = board.take()
                if isinstance(task, Batch) and board.next_to_show(task):
                    yield self._pictures(board, task)[: self.wanted - board.frames_shown].numpy()
                    board.pass_over(task)
                else:
                    self._do(board, task)
            if end is not None and self.wanted >= KEPT:
                last = list(range(self.wanted - KEPT, self.wanted))
                with contextlib.suppress(OSError):  # a full disk: the next clip begins anew, and this one is whole
                    End(board.ends(KEPT), sampler.audio(last)).write(end)
        self.checkpoint("decode", self.wanted, self.wanted)

    def _do(self, board: Board, task: Call | Batch | None) -> None:
        match task:
            case Batch():
                board.add_frames(task, self._pictures(board, task))
            case (_, _):
                board.add(task, self.sampler(task, board.given(task)))
            case None:
                time.sleep(WAIT)

    def _pictures(self, board: Board, batch: Batch) -> Tensor:
        return pictures(self.models.decodes, board.final(batch))

    # Help

    @classmethod
    def lent(cls, models: Models, directory: Path, numbers: str, checkpoint: Checkpoint) -> tuple[Self, Board]:
        """The one whose board lies there. Raises OSError or UnfitError: not yet, no more, or of other models."""
        tensors = read(directory / LENT)
        facts = json.loads(tensors.pop("facts").numpy().tobytes())
        if facts["numbers"] != numbers:
            raise UnfitError(f"it is made with {facts['numbers']}, not {numbers}")
        device = models.denoiser.conv_in.weight.device
        audio = tensors.pop("audio").to(device)
        before = End(tensors.pop("before"), tensors.pop("said").to(device)) if "before" in tensors else None
        likeness = Likeness.of(tensors, device)
        plan, wanted = Plan(*facts["plan"]), facts["wanted"]
        clip = cls(models, likeness, audio, plan, wanted, facts["guidance"], facts["fps"], numbers, checkpoint, before)
        size = torch.Size((plan.frames, 4, *likeness.sides))
        return clip, Board.join(plan, size, audio.dtype, wanted, clip.sampler.step, directory, facts["identity"])

    def _lent(self, identity: str) -> dict[str, Tensor]:
        plan, sampler = self.sampler.plan, self.sampler
        facts = {
            "numbers": self.numbers,
            "identity": identity,
            "plan": [plan.frames, plan.steps, plan.window, plan.overlap],
            "wanted": self.wanted,
            "guidance": sampler.guidance,
            "fps": self.fps,
        }
        text = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
        before = {"before": self.before.latents, "said": self.before.audio.cpu()} if self.before else {}
        return {"facts": text, "audio": self.audio.cpu(), **before, **sampler.likeness.tensors()}

    def help(self, board: Board) -> int:
        """Compute for as long as the owner is there. Returns how many calls and batches."""
        done = 0
        with contextlib.closing(board):
            while board.attended:
                self.checkpoint(HELPING, done, self.sampler.plan.calls)
                try:
                    task = board.take()
                    self._do(board, task)
                    done += task is not None
                except OSError:
                    if board.attended:
                        raise
        return done
