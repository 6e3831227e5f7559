"""The contract's own tests, for whoever writes an engine: each finds what it is there for, and ours pass."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echod.inference.audio import Speech
from echod.inference.check import CHECKS, check, main
from echod.inference.contract import (
    Checkpoint,
    Frames,
    Image,
    Options,
    Portrait,
    Size,
    check_options,
    check_size,
    clip_frames,
    no_checkpoint,
)
from echod.inference.preview import PreviewEngine
from tests.making.media import write_picture


class Good:
    """An engine that keeps the contract: frames of one colour, by seed and place."""

    name, exact, windows = "good", True, "decode"
    numbers: str | None = None
    shares: Mapping[str, float] = {"face": 0.1, "decode": 0.9}
    mark: Mapping[str, str] = {}
    computed: Mapping[str, str] = {}
    files: Mapping[str, Path] = {}

    def settle(self, options: Options) -> Options:
        return replace(options, steps=None, guidance=None)

    def prepare(
        self,
        image: Image,
        size: Size,
        box: object = None,
        checkpoint: Checkpoint = no_checkpoint,
        framing: object = None,
    ) -> Portrait:
        check_size(size)
        checkpoint("face", 0, 1)
        return Portrait(size, (0, 0, image.shape[1], image.shape[0]), 1, 0)

    def frames(
        self, portrait: Portrait, speech: Speech, options: Options, checkpoint: Checkpoint, board: object = None
    ) -> Iterator[Frames]:
        check_options(options)
        total = clip_frames(speech.seconds, options.fps)
        for frame in range(total):
            checkpoint("decode", frame, total)
            yield self.picture(portrait, options, frame)
        checkpoint("decode", total, total)

    def picture(self, portrait: Portrait, options: Options, frame: int) -> Frames:
        return np.full((1, *portrait.size[::-1], 3), (frame + options.seed) % 256, np.uint8)

    def help(self, board: Path, checkpoint: Checkpoint) -> int:
        return 0


class Unsettled(Good):
    def settle(self, options: Options) -> Options:
        return replace(options, seed=0)


class Restless(Good):
    def settle(self, options: Options) -> Options:
        return replace(options, steps=(options.steps or 0) + 1)


class Beyond(Good):
    """Its crop leaves the picture."""

    def prepare(self, *given: Any, **more: Any) -> Portrait:
        return replace(super().prepare(*given, **more), crop=(0, 0, 9999, 10))


class Obliging(Good):
    """It takes any size."""

    def prepare(
        self, image: Image, size: Size, *given: Any, checkpoint: Checkpoint = no_checkpoint, **_: Any
    ) -> Portrait:
        checkpoint("face", 0, 1)
        return Portrait(size, (0, 0, 1, 1), 1, 0)


class Short(Good):
    """It loses its last frame."""

    def frames(self, *given: Any) -> Iterator[Frames]:
        yield from list(super().frames(*given))[:-1]


class Thrifty(Good):
    """It gives the same array again and again."""

    def frames(self, portrait: Portrait, *given: Any) -> Iterator[Frames]:
        kept = np.empty((1, *portrait.size[::-1], 3), np.uint8)
        for batch in super().frames(portrait, *given):
            kept[:] = batch
            yield kept


class Quiet(Good):
    """It passes checkpoints at its end alone."""

    def frames(self, portrait: Portrait, speech: Speech, options: Options, checkpoint: Checkpoint, *_: Any) -> Any:
        yield from super().frames(portrait, speech, options, no_checkpoint)
        checkpoint("decode", 1, 1)


class Backwards(Good):
    """Its progress goes back."""

    def frames(self, portrait: Portrait, speech: Speech, options: Options, checkpoint: Checkpoint, *_: Any) -> Any:
        def turned(stage: str, done: int, total: int) -> None:
            checkpoint(stage, total - done, total)

        yield from super().frames(portrait, speech, options, turned)


class Unended(Good):
    """Its last stage is never whole."""

    def frames(self, portrait: Portrait, speech: Speech, options: Options, checkpoint: Checkpoint, *_: Any) -> Any:
        def longer(stage: str, done: int, total: int) -> None:
            checkpoint(stage, done, total + 1)

        yield from super().frames(portrait, speech, options, longer)


class Unshared(Good):
    """It is at a stage that has no share of its work."""

    def frames(self, portrait: Portrait, speech: Speech, options: Options, checkpoint: Checkpoint, *more: Any) -> Any:
        checkpoint("audio", 1, 1)
        yield from super().frames(portrait, speech, options, checkpoint, *more)


class Moody(Good):
    """What it has made before shows in what it makes."""

    made = 0

    def picture(self, portrait: Portrait, options: Options, frame: int) -> Frames:
        self.made += 1
        return super().picture(portrait, options, frame + self.made // 40)


class Stubborn(Good):
    """It does not let itself be cancelled."""

    def frames(self, portrait: Portrait, speech: Speech, options: Options, checkpoint: Checkpoint, *_: Any) -> Any:
        def deaf(*given: Any) -> None:
            with contextlib.suppress(Exception):
                checkpoint(*given)

        yield from super().frames(portrait, speech, options, deaf)


class Hurt(Good):
    """Once cancelled it is not what it was."""

    broken = 0

    def frames(self, *given: Any) -> Iterator[Frames]:
        try:
            yield from super().frames(*given)
        except Exception:
            self.broken += 1
            raise

    def picture(self, portrait: Portrait, options: Options, frame: int) -> Frames:
        return super().picture(portrait, options, frame + self.broken)


class Shared(Good):
    """It keeps what belongs to a clip in itself."""

    def frames(self, portrait: Portrait, speech: Speech, options: Options, *more: Any) -> Iterator[Frames]:
        self.seed = options.seed
        yield from super().frames(portrait, speech, options, *more)

    def picture(self, portrait: Portrait, options: Options, frame: int) -> Frames:
        return super().picture(portrait, replace(options, seed=self.seed), frame)


class Helpful(Good):
    """It helps where there is nothing to help with."""

    def help(self, board: Path, checkpoint: Checkpoint) -> int:
        return 3


class Forgetful(Good):
    """On a board that was begun it goes on with other frames."""

    def frames(
        self, portrait: Portrait, speech: Speech, options: Options, checkpoint: Checkpoint, board: Any = None
    ) -> Any:
        seen = board is not None and board.directory.exists() and (board.directory / "seen").exists()
        if board is not None and board.directory.exists():
            (board.directory / "seen").touch()
        yield from super().frames(portrait, speech, replace(options, seed=options.seed + seen), checkpoint)


class Hoarding(Good):
    """It makes all frames before it gives the first."""

    def frames(self, portrait: Portrait, speech: Speech, options: Options, checkpoint: Checkpoint, *_: Any) -> Any:
        made = self.gathered(list(super().frames(portrait, speech, options, no_checkpoint)))
        for frame, batch in enumerate(made):
            checkpoint("decode", frame, len(made))
            yield batch
        checkpoint("decode", len(made), len(made))

    def gathered(self, made: list[Frames]) -> list[Frames]:
        return made


class Slicing(Hoarding):
    """The same, in one array."""

    def gathered(self, made: list[Frames]) -> list[Frames]:
        return np.split(np.concatenate(made), len(made))


FAULTS = {
    Unsettled: ("settle", "settle changed what was asked for"),
    Restless: ("settle", "changes when it is settled again"),
    Beyond: ("portrait", r"crop \(0, 0, 9999, 10\) of 64x48"),
    Obliging: ("refusals", "size 130x128 is not refused"),
    Short: ("frames", "12 of 13 frames"),
    Thrifty: ("arrays", "12 of 13 batches were written over"),
    Quiet: ("checkpoints", "13 batches came without a checkpoint"),
    Backwards: ("checkpoints", "decode goes back from 13 to 12 of 13"),
    Unended: ("checkpoints", "decode ends at 13 of 14"),
    Unshared: ("checkpoints", "audio has no share"),
    Moody: ("determinism", "frames are others made again"),
    Stubborn: ("cancel", "what checkpoint 0 raised did not come out"),
    Hurt: ("cancel", "made after one was cancelled at checkpoint 0"),
    Shared: ("nested", "frames are others when another clip was made inside checkpoint"),
    Helpful: ("board", "help returned 3 where there is nothing"),
    Forgetful: ("board", "made on the board of one that was cancelled"),
    Hoarding: ("memory", "100% of all frames"),
    Slicing: ("memory", "100% of all frames"),
}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "portrait.png")


def test_good_one(picture: Path) -> None:
    """An engine that keeps the contract passes every check."""
    assert [(name, kept) for name, kept, _ in check(Good(), picture)] == [(name, True) for name in CHECKS]


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_faults(picture: Path, kind: type[Good]) -> None:
    """Each fault is found by the check that is there for it, and by none before."""
    first, problem = FAULTS[kind]
    failed = {name: said for name, kept, said in check(kind(), picture) if not kept}
    assert next(iter(failed)) == first
    assert re.search(problem, failed[first]), failed[first]


def test_every_check_can_fail() -> None:
    """There is a fault for each."""
    assert {name for name, _ in FAULTS.values()} == set(CHECKS)


def test_the_preview(engine: PreviewEngine) -> None:
    """The preview keeps the contract."""
    assert {name: said for name, kept, said in check(engine) if not kept} == {}


@pytest.mark.long
def test_echomimic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """EchoMimic keeps it too, in small."""
    from echod.inference.echomimic.tiny import init_tiny

    init_tiny(tmp_path / "weights")
    code = main(["echomimic", "--weights", str(tmp_path / "weights"), "--dtype", "float32"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert [line.split()[0] for line in said.splitlines()] == ["ok"] * (1 + len(CHECKS))


def test_one_that_cannot_be_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong is said, and the exit code is 1."""
    assert main(["sora"]) == 1
    assert main(["echomimic", "--weights", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "FAIL  loading      there is no engine 'sora'; installed are" in said
    assert f"FAIL  loading      {tmp_path} lacks denoising_unet_acc.pth" in said
