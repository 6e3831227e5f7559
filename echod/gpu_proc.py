"""The child: one process, one device, engines resident.

It arms its own death, pins its device, and says Hello before it imports torch. Then it loads its engines once and
serves its inbox. While a job runs, the inbox is polled at every checkpoint: that is where a job is cancelled, and
where a conversation job runs on top of a batch job, as a nested call.
"""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from echod.host import heap, logs
from echod.host.process import die_with_parent, exit_at_once
from echod.jobs import folder as job_files
from echod.jobs import life
from echod.provenance.digests import digests
from echod.workers import messages
from echod.workers.attempt import REPORT_INTERVAL, Attempt, CancelledAttempt
from echod.workers.compiling import Compiling
from echod.workers.devices import pin
from echod.workers.failures import describe, is_out_of_memory, is_sticky, let_go, why_not_ready
from echod.workers.spec import Spec

if TYPE_CHECKING:
    from echod.inference.contract import Engine, Portrait
    from echod.inference.picture import WholePicture
    from echod.jobs.job import ClipOptions

log = logging.getLogger("echod.gpu_proc")

MEASURE_INTERVAL = 10.0  # seconds between two looks at a card's memory
IDLE = 2000  # milliseconds without an order, after which memory that is free goes back to the system


class Leaving(BaseException):
    """Raised out of a checkpoint: the daemon wants this process to leave. No `except Exception` may hold it."""


def main(spec: Spec) -> None:
    """The whole life of a worker. Runs in a spawned process."""
    die_with_parent(spec.parent)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to the whole process group
        signal.signal(number, signal.SIG_IGN)  # what they mean is the daemon's to decide
    faulthandler.enable()  # SIGABRT from the stall watch dumps every stack
    logs.set_up(spec.log_level, spec.log_json)
    heap.keep()
    worker = GpuProc(spec)
    try:
        worker.load()
        worker.serve()
    except Leaving:
        pass
    finally:
        worker.close()
    exit_at_once(0)


class GpuProc:
    """One incarnation of a worker."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.device = "cuda:0" if spec.device.startswith("cuda") else spec.device  # the only one it sees
        self.doing = "taking the device"
        self.engines: dict[str, Engine] = {}
        self.weights: dict[str, dict[str, str]] = {}  # engine -> sha256 of its files by name
        self.cancelled: set[tuple[str, int]] = set()
        self.running: list[messages.Run] = []
        self._alive = 0.0  # when it last said no more than that
        self._measured = 0.0
        self.steps: dict[tuple[object, ...], float] = {}  # what kind of step -> rolling seconds of one
        self._context = zmq.Context()
        self._inbox = self._context.socket(zmq.PULL)
        self._inbox.connect(f"ipc://{spec.inbox}")
        self._reports = self._context.socket(zmq.PUSH)
        self._reports.linger = 1000  # milliseconds for the last words
        self._reports.connect(f"ipc://{spec.reports}")

    def report(self, report: messages.Report) -> None:
        self._reports.send(messages.encode(messages.Envelope(self.spec.index, self.spec.epoch, report)))

    def alive(self, sign: messages.Alive | messages.Helped) -> None:
        """What is no step of a job's work, so that it is not timed as one."""
        if (now := time.monotonic()) - self._alive >= REPORT_INTERVAL:
            self._alive = now
            self.report(sign)

    def measure(self) -> None:
        """Tell how much of the card's memory is taken, now and then."""
        if not self.device.startswith("cuda") or (now := time.monotonic()) - self._measured < MEASURE_INTERVAL:
            return
        import torch

        self._measured = now
        free, size = torch.cuda.mem_get_info()
        taken, peak = torch.cuda.memory_reserved(), torch.cuda.max_memory_reserved()
        self.report(messages.Memory(taken=taken, peak=peak, free=free, size=size))

    def close(self) -> None:
        self._inbox.close(linger=0)
        self._reports.close()
        self._context.term()

    def load(self) -> None:
        """Load every engine, once. What prevents it is reported as NotReady."""
        try:
            self._load()
        except Exception as error:
            told = why_not_ready(self.doing, error)
            if not told.final:
                log.error("cannot get ready: %s", told.reason, exc_info=error)
            self.report(told)
            raise Leaving from error

    def _load(self) -> None:
        began = time.monotonic()
        pinned = pin(self.spec.device)
        self.report(messages.Hello(cuda_visible_devices=pinned, torch_imported="torch" in sys.modules))
        compiling = Compiling.of(self.spec, lambda doing: self.report(messages.Alive(doing)))
        self.doing = "importing torch"
        import torch

        import echod.inference.clip
        import echod.provenance.credentials  # noqa: F401  (now: an upgrade on disk must not mix versions later)
        from echod.inference.engines import load_engine
        from echod.inference.portraits import PortraitCache
        from echod.inference.registry import find

        torch.set_num_threads(self.spec.threads)
        self.portraits = PortraitCache(self.spec.cache_bytes)
        for name in self.spec.engines:
            self.doing = f"loading {find(name).where_from}"
            self.report(messages.Alive(self.doing))
            engine = self.engines[name] = load_engine(
                name,
                Path(self.spec.weights),
                self.device,
                self.spec.dtype,
                self._tick,
                compiling=compiling,
                decoder=self.spec.decoder,
            )
            self.weights[name] = digests(engine.files, Path(self.spec.digests), self._reading)
        self.measure()
        self.report(
            messages.Ready(
                engines=list(self.engines),
                exact={name: engine.exact for name, engine in self.engines.items()},
                numbers={name: engine.numbers for name, engine in self.engines.items() if engine.numbers},
                computed={name: dict(engine.computed) for name, engine in self.engines.items()},
                kernels=compiling.told if compiling else None,
                load_ms=round(1000 * (time.monotonic() - began)),
            )
        )

    def _tick(self) -> None:
        self.alive(messages.Alive(self.doing))

    def _reading(self, file: str) -> None:
        self.alive(messages.Alive(f"reading {file} for its sha256"))

    def serve(self) -> None:
        while True:
            if not self._inbox.poll(IDLE):
                heap.trim()
            self.obey(messages.decode_order(self._inbox.recv()))

    def obey(self, order: messages.Order) -> None:
        match order:
            case messages.Run():
                self.run(order)
            case messages.Help():
                self.help(order)
            case messages.Prepare():
                self.warm(order)
            case messages.Cancel(job=job, attempt=attempt):
                if any(running.job == job for running in self.running):
                    self.cancelled.add((job, attempt))
            case messages.Stop():
                raise Leaving

    def poll(self) -> None:
        """Take every order that waits. A Run among them runs here and now, on top of what runs."""
        while True:
            try:
                data = self._inbox.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.obey(messages.decode_order(data))

    def run(self, order: messages.Run) -> None:
        self.report(messages.Began(order.job, order.attempt))
        self.running.append(order)
        try:
            self.report(messages.Moved(job=order.job, event=Attempt(self, order).make()))
        except CancelledAttempt:
            self.report(messages.Moved(job=order.job, event=life.Cancelled()))
        except Exception as error:
            self._failed(order, error)
        finally:
            self.running.pop()
            self.cancelled.discard((order.job, order.attempt))

    def help(self, order: messages.Help) -> None:
        """What goes wrong here is nothing to the job: its owner will see for itself."""

        def checkpoint(stage: str, done: int, total: int) -> None:
            self.alive(messages.Helped(order.job, done, over=False))
            self.measure()
            self.poll()

        calls = 0
        try:
            calls = self.engines[order.engine].help(Path(order.directory) / job_files.BOARD, checkpoint)
        except Exception as error:
            log.warning("could not help: %s", error, exc_info=error, extra={"job": order.job})
            if is_out_of_memory(error):
                self._release_memory(error)
            if is_sticky(error):
                raise Leaving from error
        self.report(messages.Helped(order.job, calls, over=True))

    def _failed(self, order: messages.Run, error: Exception) -> None:
        failed, sticky = describe(order.attempt, error)
        log.warning("attempt failed: %s", failed.message, exc_info=error, extra={"job": order.job})
        if failed.code == "out_of_memory":
            self._release_memory(error)
        self.report(messages.Moved(job=order.job, event=failed, sticky=sticky))
        if sticky:
            raise Leaving from error

    def _release_memory(self, error: Exception) -> None:
        import torch

        let_go(error)
        self.portraits.clear()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def prepare(
        self, engine: str, path: Path, sha256: str, options: ClipOptions, box: Any, checkpoint: Any
    ) -> tuple[Portrait, WholePicture | None]:
        """The portrait ready for an engine, and the picture if the clip shows all of it; from the cache if there."""
        from echod.inference.conformance import portrait_of
        from echod.inference.framing import Framing
        from echod.inference.picture import WholePicture
        from echod.inference.portraits import read_portrait

        image, size = cache(partial(read_portrait, path)), (options.width, options.height)
        framing = Framing(options.crop, options.dilation, options.face)
        portrait = self.portraits.get(
            (sha256, size, engine, framing),
            lambda: portrait_of(engine, self.engines[engine].prepare(image(), size, box, checkpoint, framing), size),
        )
        if options.view == "face":
            return portrait, None
        key = (sha256, portrait.crop, options.max_picture)
        return portrait, self.portraits.get(key, lambda: WholePicture(image(), *key[1:]))

    def warm(self, order: messages.Prepare) -> None:
        def checkpoint(stage: str, done: int, total: int) -> None:
            self.report(messages.Alive(f"preparing, {stage}"))

        path = Path(order.portrait)
        try:
            self.prepare(order.engine, path, order.portrait_sha256, order.options, order.box, checkpoint)
        except Exception as error:  # a job with this portrait will say so to somebody
            if is_out_of_memory(error):
                self._release_memory(error)
            self.report(messages.Prepared(f"{type(error).__name__}: {error}"))
            if is_sticky(error):
                raise Leaving from error
        else:
            self.report(messages.Prepared())
