"""One run of a job in its worker: its progress, its checkpoint, its clip."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from echod import __version__
from echod.jobs import folder as job_files
from echod.jobs import life
from echod.provenance import aigc
from echod.workers import messages

if TYPE_CHECKING:
    from echod.gpu_proc import GpuProc

REPORT_INTERVAL = 0.05  # seconds between two progress reports of one stage
WAITING = "wait"  # inference's own name for a checkpoint while others compute
STEP_WEIGHT = 0.2  # of the newest step in the rolling step time


class CancelledAttempt(Exception):
    """Raised out of a checkpoint: somebody cancelled this attempt."""


class Attempt:
    """Raises InputError if its engine is not loaded."""

    def __init__(self, worker: GpuProc, order: messages.Run) -> None:
        from echod.inference.errors import InputError

        if order.engine not in worker.engines:  # the job was accepted by a daemon that ran with another --engine
            loaded = ", ".join(worker.engines)
            message = f"engine {order.engine} is no longer loaded; this daemon has {loaded} (`echod serve --engine`)"
            raise InputError("model_not_loaded", message)
        self.worker = worker
        self.order = order
        self.engine = worker.engines[order.engine]
        # What decides how long a step takes; without a guidance of its own, the engine's holds for all such jobs.
        options = order.options
        guided = None if options.guidance is None else options.guidance > 1
        self._kind = (order.engine, options.width, options.height, guided)
        self._done: dict[str, float] = {}
        self._windows = (0, 0)
        self._stage = ""
        self._reported = 0.0
        self._passed = time.monotonic()

    def make(self) -> life.Done:
        """Prepare, make the clip, seal it. Raises whatever the engine and the checkpoint raise."""
        from echod.inference import clip
        from echod.inference.audio import Speech
        from echod.inference.contract import Options
        from echod.inference.room import Room
        from echod.provenance.seal import Seal

        order, options, directory = self.order, self.order.options, Path(self.order.directory)
        began = time.monotonic()
        portrait, whole = self.worker.prepare(
            order.engine,
            directory / job_files.PORTRAIT,
            order.portrait_sha256,
            options,
            order.box,
            self.checkpoint,
        )
        prepare_ms = round(1000 * (time.monotonic() - began)) if self._done else 0  # no stage was passed: it was ready
        speech = Speech.open(directory / job_files.SPEECH)
        chosen = Options(options.fps, options.steps, options.guidance, options.seed, options.joins, options.live)
        if options.chained:
            before = directory / job_files.BEFORE
            chosen = replace(chosen, before=before if before.exists() else None, end=directory / job_files.END)
        room = Room(directory, order.most, order.spare)
        seal = Seal(order, self.engine, chosen, portrait, self.worker.weights.get(order.engine, {}), room)
        facts = clip.make_clip(
            self.engine,
            portrait,
            speech,
            chosen,
            directory,
            whole=whole,
            attempt=order.attempt,
            lossless=options.lossless,
            label=options.label_language if options.label == "corner" else None,
            mark={"version": __version__},
            tags=aigc.label(order.producer, order.job),
            room=room,
            checkpoint=self.checkpoint,
            on_first_fragment=lambda: self._report(life.FirstFrame(order.attempt)),
            seal=seal,
        )
        return life.Done(
            attempt=order.attempt,
            frames=facts.frames,
            crop=portrait.crop,
            faces=portrait.faces,
            unsigned=seal.problem,
            timings_ms={"face": prepare_ms, **facts.timings_ms},
        )

    def _report(self, event: life.Progressed | life.FirstFrame, step_s: float = 0.0) -> None:
        self.worker.report(messages.Moved(job=self.order.job, event=event, step_s=step_s))

    def checkpoint(self, stage: str, done: int, total: int) -> None:
        """Called by engines between windows, steps and batches: progress out, orders in."""
        if stage == WAITING:
            self._stage = ""
            self.worker.alive(messages.Alive(stage))
        else:
            self._note(stage, done, total)
        self.worker.poll()  # another job may run in here for minutes
        self._passed = time.monotonic()
        if (self.order.job, self.order.attempt) in self.worker.cancelled:
            raise CancelledAttempt

    def _note(self, stage: str, done: int, total: int) -> None:
        now, key = time.monotonic(), (*self._kind, stage)
        timed = self.worker.steps.get(key)
        if stage == self._stage:
            step = now - self._passed
            self.worker.steps[key] = step if timed is None else (1 - STEP_WEIGHT) * timed + STEP_WEIGHT * step
        self._done[stage] = done / max(total, 1)
        if stage == self.engine.windows:
            self._windows = (done, total)
        if stage == self._stage and timed and done < total and now - self._reported < REPORT_INTERVAL:
            return
        self._stage, self._reported = stage, now
        progressed = life.Progressed(
            attempt=self.order.attempt,
            stage=stage,
            progress=sum(share * self._done.get(name, 0.0) for name, share in self.engine.shares.items()),
            windows_done=self._windows[0],
            windows_total=self._windows[1],
        )
        job_files.note_progress(Path(self.order.directory), progressed.progress)
        self.worker.measure()
        # What comes after the last step of a stage takes a time of its own.
        self._report(progressed, self.worker.steps.get(key, 0.0) if done < total else 0.0)
