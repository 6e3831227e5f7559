"""An engine that does what a test says: the job's seed names the behaviour. Everything around it is the real worker."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import zmq

from echod import gpu_proc
from echod.inference import engines
from echod.inference.audio import Speech
from echod.inference.contract import Box, Checkpoint, Frames, Image, Options, Portrait, Size, clip_frames, no_checkpoint
from echod.inference.errors import InputError
from echod.inference.registry import BUILT_IN
from echod.workers import messages
from echod.workers.failures import describe
from echod.workers.spec import Spec

GOOD, GATED, BROKEN, NO_FACE, NO_MEMORY, KILLED, SILENT, STICKY, FREES_MEMORY, DIES_ONCE, SLOW_START, GREEDY = range(12)

DEADLY_WIDTH = 66  # of a portrait under which a worker dies


class ScriptedEngine:
    """Frames of one colour; before the last one the behaviour of the seed."""

    name = "preview"
    exact = True
    shares: Mapping[str, float] = {"face": 0.1, "decode": 0.9}
    windows = "decode"
    mark: Mapping[str, str] = {}
    numbers: str | None = None
    computed: Mapping[str, str] = {}
    files: Mapping[str, Path] = {}
    prepared = 0

    def settle(self, options: Options) -> Options:
        return options

    def prepare(
        self,
        image: Image,
        size: Size,
        box: Box | None = None,
        checkpoint: Checkpoint = no_checkpoint,
        framing: object = None,
    ) -> Portrait:
        checkpoint("face", 0, 1)
        self.prepared += 1
        if image.shape[1] == DEADLY_WIDTH:
            os.kill(os.getpid(), signal.SIGKILL)
        # As many faces as portraits were prepared so far: a job shows whether its own was prepared again.
        crop = (0, 0, image.shape[1], image.shape[0])
        return Portrait(size=size, crop=crop, faces=self.prepared, nbytes=image.nbytes)

    def help(self, board: Path, checkpoint: Checkpoint) -> int:
        return 0

    def frames(
        self, portrait: Any, speech: Speech, options: Options, checkpoint: Checkpoint, board: object = None
    ) -> Iterator[Frames]:
        width, height = portrait.size
        total = clip_frames(speech.seconds, options.fps)
        if options.seed == SLOW_START:
            checkpoint("reference", 0, 1)
            time.sleep(2.5)  # longer than the stall watch looks away
            checkpoint("reference", 1, 1)
        for index in range(total):
            checkpoint("decode", index, total)
            if index == total - 1:
                behave(options.seed, speech.path.parent, lambda: checkpoint("decode", total - 1, total))
            yield np.full((1, height, width, 3), index % 256, np.uint8)
        checkpoint("decode", total, total)


class HelpfulEngine(ScriptedEngine):
    """Computes calls, at its first frame, until the test opens the gate; so does whoever helps."""

    numbers = "the same"

    def help(self, board: Path, checkpoint: Checkpoint) -> int:
        while not (board.parent / "gate").exists():
            checkpoint("help", 3, 7)
            compute(board.parent)
        return 7

    def frames(
        self, portrait: Any, speech: Speech, options: Options, checkpoint: Checkpoint, board: object = None
    ) -> Iterator[Frames]:
        while not (speech.path.parent / "gate").exists():
            checkpoint("decode", 0, clip_frames(speech.seconds, options.fps))
            compute(speech.path.parent)
        yield from super().frames(portrait, speech, options, checkpoint)


def compute(job: Path) -> None:
    """A call, which lasts while `held` is there; who began which is kept in `calls`."""
    state = job.parents[1]
    with (state / "calls").open("a") as calls:
        calls.write(f"{os.getpid()} {job.name}\n")
    time.sleep(0.002)
    if (state / "held").exists():
        with (state / "calls").open("a") as calls:
            calls.write(f"{os.getpid()} held\n")
        while (state / "held").exists():
            time.sleep(0.002)


def behave(seed: int, directory: Path, checkpoint: Any) -> None:
    match seed:
        case 1:  # GATED: passes checkpoints until the test opens the gate
            (directory / "waiting").touch()
            while not (directory / "gate").exists():
                checkpoint()
                time.sleep(0.002)
        case 2:
            raise RuntimeError("the script says so")
        case 3:
            raise InputError("no_face_detected", "the script sees no face")
        case 4:
            raise MemoryError("the script is greedy")
        case 5:
            os.kill(os.getpid(), signal.SIGKILL)
        case 6:  # SILENT: no checkpoint ever again
            (directory / "silent").touch()
            while True:
                signal.pause()
        case 7:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case 8 if not _seen(directory):
            raise MemoryError("the first time only")
        case 9 if not _seen(directory):
            os.kill(os.getpid(), signal.SIGKILL)
        case 11:  # GREEDY: takes all the memory it is allowed
            eat(128 << 20)


def eat(allowed: int) -> None:
    """Allocate until the kernel says no, `allowed` bytes from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + allowed, hard))
    try:
        eaten = []
        while True:
            eaten.append(bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _seen(directory: Path) -> bool:
    mark = directory / "seen"
    seen = mark.exists()
    mark.touch()
    return seen


class Torch(MetaPathFinder, Loader):
    """What workers ask of torch themselves. Scripted engines compute nothing, and importing it is most of a start."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == "torch" else None

    def exec_module(self, module: ModuleType) -> None:
        card = SimpleNamespace(mem_get_info=lambda: (70, 80), memory_reserved=lambda: 4, max_memory_reserved=lambda: 5)
        vars(module).update(OutOfMemoryError=MemoryError, set_num_threads=lambda number: None, cuda=card)


def work(spec: Spec, load: Callable[..., Any]) -> None:
    sys.meta_path.insert(0, Torch())
    engines.load_engine = load
    gpu_proc.main(spec)


def main(spec: Spec) -> None:
    """A worker with the scripted engine, beside those of packages that a test has installed."""
    own = engines.load_engine
    work(spec, lambda name, *rest, **more: ScriptedEngine() if name in BUILT_IN else own(name, *rest, **more))


def helpful(spec: Spec) -> None:
    """A worker whose engine helps others."""
    work(spec, lambda *_, **__: HelpfulEngine())


def never_ready(spec: Spec) -> None:
    """A worker that exits while it loads."""

    def load(*_: object, **__: object) -> Any:
        os._exit(3)

    work(spec, load)


def refusing(spec: Spec) -> None:
    """A worker whose weights are missing."""

    def load(*_: object, **__: object) -> Any:
        raise InputError("model_not_loaded", "the weights are missing")

    work(spec, load)


def uncompiled(spec: Spec) -> None:
    """A worker with a card for which kernels cannot be compiled, which shows while `held` is in the state directory."""

    def compile_kernels() -> None:
        while (Path(spec.kernels).parents[1] / "held").exists():
            time.sleep(0.002)
        raise RuntimeError("Failed to find C compiler")

    def load(*_: object, compiling: Any, **__: object) -> Any:
        compiling(compile_kernels)
        return ScriptedEngine()

    work(replace(spec, device="cuda:0"), load)


def out_of_memory(spec: Spec) -> None:
    """A worker whose weights do not fit at its first start."""

    def load(*_: object, **__: object) -> Any:
        if spec.epoch == 1:
            raise MemoryError("too much is asked for")
        return ScriptedEngine()

    work(spec, load)


def late(spec: Spec) -> None:
    """A worker that dies at its first job; that the picture has no face is heard of just after."""

    def run(self: gpu_proc.GpuProc, order: messages.Run) -> None:
        alive = os.pidfd_open(os.getpid())
        if os.fork():
            os._exit(0)
        with zmq.Context() as context, context.socket(zmq.PUSH) as reports:
            reports.connect(f"ipc://{spec.reports}")
            select.select([alive], [], [])  # until it is not
            time.sleep(0.05)  # as long as ZeroMQ's thread may take on a busy machine
            failed, _ = describe(order.attempt, InputError("no_face_detected", "as the picture says"))
            moved = messages.Moved(job=order.job, event=failed)
            reports.send(messages.encode(messages.Envelope(spec.index, spec.epoch, moved)))
        os._exit(0)

    if spec.epoch == 1:
        gpu_proc.GpuProc.run = run  # type: ignore[method-assign]
    main(spec)


def second_refuses(spec: Spec) -> None:
    """The first worker is a good one; the second refuses when it is told to."""
    if spec.index == 0:
        main(spec)
        return

    def load(*_: object, **__: object) -> Any:
        while not Path(spec.directory, "refuse").exists():
            time.sleep(0.002)
        raise InputError("model_not_loaded", "the weights are missing")

    work(spec, load)
