"""A worker of one thread that writes down when it computed what, one line a window call or batch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from echod import gpu_proc
from echod.inference import engines
from echod.workers.spec import Spec

TIMES = "ECHOD_BENCH_TIMES"  # the file


def main(spec: Spec) -> None:
    load: Any = engines.load_engine

    def loaded(*arguments: Any, **named: Any) -> Any:
        engine = load(*arguments, **named)  # its trying out is not written down
        from echod.inference.echomimic.board import Board
        from echod.inference.echomimic.clip import Clip
        from echod.inference.echomimic.sampler import Sampler

        for owner, name, kind in (
            (Sampler, "__call__", "call"),
            (Clip, "_pictures", "batch"),
            (Board, "take", "board"),
            (Board, "add", "board"),
            (Board, "add_frames", "board"),
        ):
            setattr(owner, name, timed(getattr(owner, name), kind))
        return engine

    engines.load_engine = loaded
    gpu_proc.main(replace(spec, threads=1))


def timed(work: Callable[..., Any], kind: str) -> Callable[..., Any]:
    def noted(*arguments: Any) -> Any:
        began, computing = time.monotonic(), time.thread_time()
        made = work(*arguments)
        ended, cpu = time.monotonic(), time.thread_time() - computing
        with Path(os.environ[TIMES]).open("a") as file:
            file.write(f"{kind} {began} {ended} {cpu}\n")
        return made

    return noted
