"""`ECHOD_TEST_FATE=FILE python -m tests.stand_ins.doomed serve ...`: a daemon whose workers note what they compute,
and die where FILE says.

FILE holds WHO STAGE DONE MS: the owner of a clip, a helper or the daemon is killed so many milliseconds after the first
checkpoint that has got so far. Then FILE is FILE.met, which says where that was. Each window call and batch that is
begun is a line of FILE.begun. Workers take one thread each, so that any number of them computes the same.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from echod import gpu_proc
from echod.inference import engines
from echod.inference.contract import HELPING, Checkpoint
from echod.workers.attempt import Attempt
from echod.workers.spec import Spec

WHO = ("owner", "helper", "daemon")
LAST = "mux"  # whoever got past the point without a checkpoint there dies here


def fate() -> Path:
    return Path(os.environ["ECHOD_TEST_FATE"])


def meet(stage: str, done: int, parent: int) -> None:
    """Die here, if that is what FILE says."""
    try:
        who, where, least, wait = fate().read_text().split()
    except (FileNotFoundError, ValueError):
        return
    if (who == "helper") != (stage == HELPING) or (stage != LAST and (stage != where or done < int(least))):
        return
    met = fate().with_suffix(".met")
    try:
        fate().rename(met)  # one process does, and dies
    except FileNotFoundError:
        return
    met.write_text(f"{who} {stage} {done}")
    victim = parent if who == "daemon" else os.getpid()
    threading.Timer(int(wait) / 1000, os.kill, (victim, signal.SIGKILL)).start()


def note(what: str) -> None:
    descriptor = os.open(fate().with_suffix(".begun"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{os.getpid()} {what}\n".encode())
    os.close(descriptor)


def watch(parent: int) -> None:
    """Patch what this process does from now on; its engine has been loaded and tried out."""
    from echod.inference.echomimic.clip import Clip
    from echod.inference.echomimic.engine import EchoMimicEngine
    from echod.inference.echomimic.sampler import Sampler

    own: Any = Attempt, EchoMimicEngine, Sampler, Clip
    attempt, engine, sampler, clip = own
    pass_on, help_with, call, pictures = attempt.checkpoint, engine.help, sampler.__call__, clip._pictures

    def checkpoint(self: Any, stage: str, done: int, total: int) -> None:
        pass_on(self, stage, done, total)
        meet(stage, done, parent)

    def help_and_meet(self: Any, board: Path, inner: Checkpoint) -> int:
        def checkpoint(stage: str, done: int, total: int) -> None:
            inner(stage, done, total)
            meet(stage, done, parent)

        return int(help_with(self, board, checkpoint))

    def noted_call(self: Any, given: Any, latents: Any) -> Any:
        note(f"call {given[0]} {given[1]}")
        return call(self, given, latents)

    def noted_pictures(self: Any, board: Any, batch: Any) -> Any:
        note(f"batch {batch.number}")
        return pictures(self, board, batch)

    attempt.checkpoint, engine.help = checkpoint, help_and_meet
    sampler.__call__, clip._pictures = noted_call, noted_pictures


def main(spec: Spec) -> None:
    """Such a worker."""
    load: Any = engines.load_engine

    def loaded(*arguments: Any, **named: Any) -> Any:
        engine = load(*arguments, **named)
        if engine.numbers:
            watch(spec.parent)
        return engine

    engines.load_engine = loaded
    gpu_proc.main(replace(spec, threads=1))


if __name__ == "__main__":
    from echod import daemon
    from echod.cli import main as run
    from echod.workers import fleet
    from tests.stand_ins import doomed

    vars(daemon)["Fleet"] = functools.partial(fleet.Fleet, main=doomed.main)
    run()
