"""`python -m echod.inference.check NAME`: whether an engine keeps the contract, by having it work. One line a check.

What cannot be told from outside is left out: whether frames show what they should, and in the order of the speech.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import wave
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .audio import Speech
from .conformance import ContractError, check_progress, frames_of, portrait_of
from .contract import Board, Engine, Options, Portrait, clip_frames, no_checkpoint
from .engines import load_engine
from .errors import InputError
from .limits import DTYPES
from .portraits import read_portrait
from .registry import find
from .room import Room

EXAMPLE = Path(__file__).parent.parent / "examples" / "portrait.png"
SIZES = ((128, 128), (128, 192))
STEPS = 1  # for engines that have them
LONG = 4.0  # seconds of speech, to see whether its frames are held


class Wrong(Exception):
    """What an engine does and must not."""


class Cancelled(Exception):
    """What a checkpoint raises here; engines know nothing of it."""


class Job(NamedTuple):
    """What a clip would be made of."""

    portrait: Portrait
    speech: Speech
    options: Options


class Watch:
    """A checkpoint that keeps what it is called with, and at its call number `at` does something else first."""

    def __init__(self, engine: Engine, at: int = -1, then: Callable[[], None] = lambda: None) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self._engine, self._at, self._then = engine, at, then

    def __call__(self, stage: str, done: int, total: int) -> None:
        check_progress(self._engine.name, stage, done, total)
        self.calls.append((stage, done, total))
        if len(self.calls) - 1 == self._at:
            self._then()


class Check:
    """An engine, two jobs for it, and what they give alone."""

    def __init__(self, engine: Engine, picture: Path, directory: Path) -> None:
        self.engine, self.directory = engine, directory
        self.image = read_portrait(picture)
        self.speeches = [self.speech(seconds) for seconds in (0.53, 0.3)]

    def speech(self, seconds: float) -> Speech:
        """A tone that swells and falls: 16-bit mono."""
        at = np.arange(round(seconds * 16_000)) / 16_000
        samples = 0.5 * np.sin(2 * np.pi * 220 * at) * np.sin(2 * np.pi * 2 * at)
        path = self.directory / f"{seconds}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes((32767 * samples).astype("<i2").tobytes())
        return Speech.open(path)

    def prepare(self, size: tuple[int, int], checkpoint: Callable[[str, int, int], None] = no_checkpoint) -> Portrait:
        made = self.engine.prepare(self.image, size, checkpoint=checkpoint)
        return portrait_of(self.engine.name, made, size)

    def frames(self, job: Job, watch: Watch | None = None, board: Board | None = None) -> Iterator[Any]:
        total = clip_frames(job.speech.seconds, job.options.fps)
        made = self.engine.frames(job.portrait, job.speech, job.options, watch or Watch(self.engine), board)
        return frames_of(self.engine.name, made, job.portrait.size, total)

    def pictures(self, job: Job, watch: Watch | None = None, board: Board | None = None) -> list[bytes]:
        """A digest of each frame."""
        return [digest(frame) for batch in self.frames(job, watch, board) for frame in batch]

    def same(self, job: Job, when: str, board: Board | None = None) -> None:
        differ(self.pictures(job, board=board), self.alone[job is self.other], when)

    # The checks, in their order: each returns what to say of it

    def settles(self) -> str:
        given = Options(fps=25, seed=7, joins=(True, False), live=True)
        used = self.engine.settle(given)
        if (used.fps, used.seed, used.joins, used.live) != (given.fps, given.seed, given.joins, given.live):
            raise Wrong(f"settle changed what was asked for: {given} became {used}")
        if self.engine.settle(used) != used:
            raise Wrong(f"what settle returns changes when it is settled again: {used}")
        return f"steps {used.steps}, guidance {used.guidance}"

    def portraits(self) -> str:
        watch = Watch(self.engine)
        made = [self.prepare(size, watch) for size in SIZES]
        height, width = self.image.shape[:2]
        for portrait in made:
            x0, y0, x1, y1 = portrait.crop
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height and portrait.nbytes >= 0 and portrait.faces >= 1):
                raise Wrong(
                    f"crop {portrait.crop} of {width}x{height}, {portrait.nbytes} bytes, {portrait.faces} faces"
                )
        if not watch.calls:
            raise Wrong("prepare passes no checkpoint")
        options = Options(steps=self.engine.settle(Options()).steps and STEPS)
        self.job = Job(made[0], self.speeches[0], options)
        self.other = Job(made[1], self.speeches[1], Options(fps=12, seed=8, steps=options.steps))
        return f"{' and '.join(f'{width}x{height}' for width, height in SIZES)}, {made[0].nbytes >> 10} KiB"

    def refusals(self) -> str:
        refused("size 130x128", lambda: self.engine.prepare(self.image, (130, 128)))
        refused("size 128x0", lambda: self.engine.prepare(self.image, (128, 0)))
        bad = Options(fps=0)
        refused("fps 0", lambda: list(self.engine.frames(*self.job[:2], bad, no_checkpoint)))
        return "sizes and frame rates that cannot be made"

    def gives_frames(self) -> str:
        self.alone = [self.pictures(self.job), self.pictures(self.other)]
        return f"{len(self.alone[0])} and {len(self.alone[1])} in all"

    def keeps_frames(self) -> str:
        batches = [(batch, digest(batch)) for batch in self.frames(self.job)]
        if changed := [number for number, (batch, was) in enumerate(batches) if digest(batch) != was]:
            raise Wrong(f"{len(changed)} of {len(batches)} batches were written over after they had been given")
        return f"{len(batches)} batches stay as they were given"

    def passes_checkpoints(self) -> str:
        watch, passed, silent = Watch(self.engine), 0, 0
        for _ in self.frames(self.job, watch):
            silent, passed = silent + (len(watch.calls) == passed), len(watch.calls)
        if silent:
            raise Wrong(f"{silent} batches came without a checkpoint before them")
        last: dict[str, tuple[int, int]] = {}
        for stage, done, total in watch.calls:
            if stage in self.engine.shares and done < last.get(stage, (0, 0))[0]:
                raise Wrong(f"{stage} goes back from {last[stage][0]} to {done} of {total}")
            last[stage] = done, total
        if short := [f"{stage} ends at {done} of {total}" for stage, (done, total) in last.items() if done < total]:
            raise Wrong(", ".join(short))
        if strange := sorted(last.keys() - self.engine.shares.keys() - {"wait"}):
            raise Wrong(f"{', '.join(strange)} has no share of the work")
        if self.engine.windows not in last:
            raise Wrong(f"{self.engine.windows}, whose steps are shown as windows, is never passed")
        return f"{len(watch.calls)}, of {', '.join(last)}"

    def repeats(self) -> str:
        self.same(self.job, "made again")
        self.same(self.other, "made after another clip")
        differ(
            self.pictures(self.job._replace(portrait=self.prepare(SIZES[0]))), self.alone[0], "of a portrait made again"
        )
        return "equal frames for equal arguments, whatever was made before"

    def cancels(self) -> str:
        watch = Watch(self.engine)
        self.pictures(self.job, watch)
        last = len(watch.calls) - 1
        for at in sorted({0, last // 2, last}):
            cancelled(partial(self.pictures, self.job, Watch(self.engine, at, cancel)), f"checkpoint {at}")
            self.same(self.job, f"made after one was cancelled at checkpoint {at} of {last}")
        cancelled(lambda: self.prepare(SIZES[0], Watch(self.engine, 0, cancel)), "prepare")
        frames = self.frames(self.job)
        next(frames)
        del frames
        self.same(self.job, "made after one was given up")
        return "at the first, the middle and the last checkpoint"

    def nests(self) -> str:
        watch = Watch(self.engine)
        self.pictures(self.job, watch)
        for at in sorted({0, len(watch.calls) // 2}):
            inside: list[bytes] = []
            watch = Watch(self.engine, at, partial(self._extend, inside))
            made = self.pictures(self.job, watch)
            differ(inside, self.alone[1], f"made inside checkpoint {at} of another clip")
            differ(made, self.alone[0], f"when another clip was made inside checkpoint {at}")
        return "another clip is made inside a checkpoint"

    def _extend(self, inside: list[bytes]) -> None:
        inside += self.pictures(self.other)

    def resumes(self) -> str:
        (place := self.directory / "board").mkdir()
        board = Board(place, Room(self.directory))
        if (helped := self.engine.help(place, no_checkpoint)) != 0:
            raise Wrong(f"help returned {helped!r} where there is nothing to be done, and not 0")
        watch = Watch(self.engine)
        self.pictures(self.job, watch, Board(self.directory / "first", Room(self.directory)))
        cancelled(lambda: self.pictures(self.job, Watch(self.engine, len(watch.calls) // 2, cancel), board), "a board")
        self.same(self.job, "made on the board of one that was cancelled", board)
        return "equal frames with a board, and with one that was begun before"

    def holds_little(self) -> str:
        """Frames that are held after they were given, or whose array is a part of a larger one."""
        job = self.job._replace(speech=self.speech(LONG))
        every = clip_frames(LONG, job.options.fps) * math.prod(SIZES[0]) * 3
        alive: dict[int, weakref.ref[Any]] = {}
        most, frames = 0, self.frames(job)
        while (batch := next(frames, None)) is not None:
            batch = root(batch)
            alive[id(batch)] = weakref.ref(batch)
            del batch
            held = [array.nbytes for each in alive.values() if (array := each()) is not None]
            most = max(most, sum(held))
        if most > every / 2:
            raise Wrong(f"{most / every:.0%} of all frames of {LONG:g} s of speech are held at once")
        return f"at most {most / every:.0%} of the frames of {LONG:g} s of speech are held at once"


CHECKS: dict[str, Callable[[Check], str]] = {
    "settle": Check.settles,
    "portrait": Check.portraits,
    "refusals": Check.refusals,
    "frames": Check.gives_frames,
    "arrays": Check.keeps_frames,
    "checkpoints": Check.passes_checkpoints,
    "determinism": Check.repeats,
    "cancel": Check.cancels,
    "nested": Check.nests,
    "board": Check.resumes,
    "memory": Check.holds_little,
}
NEEDED = ("portrait", "frames")  # without these there is nothing to go on with


def check(engine: Engine, picture: Path = EXAMPLE) -> Iterator[tuple[str, bool, str]]:
    """Each check's name, whether it is kept, and what there is to say."""
    with tempfile.TemporaryDirectory(prefix="echod-check-") as directory:
        work = Check(engine, picture, Path(directory))
        for name, run in CHECKS.items():
            try:
                yield name, True, run(work)
            except (Wrong, ContractError) as wrong:
                yield name, False, str(wrong)
            except Exception as error:
                yield name, False, f"{type(error).__name__}: {error}"
            else:
                continue
            if name in NEEDED:
                return


def differ(made: list[bytes], alone: list[bytes], when: str) -> None:
    if apart := [number for number, (one, other) in enumerate(zip(made, alone, strict=True)) if one != other]:
        raise Wrong(f"{len(apart)} of {len(alone)} frames are others {when}, the first is {apart[0]}")


def refused(what: str, work: Callable[[], object]) -> None:
    try:
        work()
    except InputError:
        return
    raise Wrong(f"{what} is not refused; check_size and check_options raise InputError for what cannot be made")


def cancel() -> None:
    raise Cancelled


def cancelled(work: Callable[[], object], where: str) -> None:
    try:
        work()
    except Cancelled:
        return
    raise Wrong(f"what {where} raised did not come out")


def digest(array: Any) -> bytes:
    return blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def root(array: Any) -> Any:
    """The array whose memory it is."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def main(arguments: list[str] | None = None) -> int:
    """0: it keeps the contract; 1: it does not."""
    parser = argparse.ArgumentParser(prog="python -m echod.inference.check", description=__doc__)
    parser.add_argument("name", help="an engine that is installed")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="where its model files are")
    parser.add_argument("--device", default="cpu", help="torch's name of it [default: cpu]")
    parser.add_argument("--dtype", default="auto", choices=DTYPES)
    parser.add_argument("--portrait", type=Path, default=EXAMPLE, metavar="FILE", help="a picture with a face")
    given = parser.parse_args(arguments)
    try:
        engine = load_engine(given.name, given.weights, given.device, given.dtype)
    except Exception as error:
        tell("loading", False, str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")
        return 1
    tell("loading", True, find(given.name).where_from)
    return max([not tell(*result) for result in check(engine, given.portrait)])


def tell(name: str, kept: bool, said: str) -> bool:
    print(f"{'ok' if kept else 'FAIL':<5} {name:<12} {said}", flush=True)
    return kept


if __name__ == "__main__":
    sys.exit(main())
