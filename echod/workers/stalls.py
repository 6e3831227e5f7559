"""The stall watch: a worker that must report and does not is ended."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Sequence

from echod.config import Settings
from echod.workers.worker import Worker

log = logging.getLogger("echod.fleet")

INTERVAL = 1.0  # seconds between two looks
LATE = 2.0  # seconds after which a look is late: the machine stood still, and its workers with it
STEPS = 20  # rolling steps without a report
FIRST = {"cpu": 1800.0, "cuda": 300.0, "ray": 300.0, "ray/cpu": 1800.0}  # seconds, until a device has timed one step
DUMP_SECONDS = 2.0  # between SIGABRT, which dumps the stacks, and SIGKILL


class StallWatch:
    """Use inside a running event loop."""

    def __init__(self, workers: Sequence[Worker], settings: Settings) -> None:
        self._workers = workers
        self._settings = settings

    def start(self) -> None:
        self.due = time.monotonic() + INTERVAL
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self.look)

    def stop(self) -> None:
        self._timer.cancel()

    def look(self) -> None:
        now = time.monotonic()
        if (late := now - self.due) > LATE:
            for worker in self._workers:
                worker.last_report = min(now, worker.last_report + late)
        self.start()
        for worker in self._workers:
            silence = now - worker.last_report
            if worker.alive and worker.seat.works and not worker.stalled and silence > self._patience(worker):
                self._end(worker, silence)

    def _patience(self, worker: Worker) -> float:
        settings = self._settings.now
        if worker.step_s is not None:
            return max(settings.stall_timeout, STEPS * worker.step_s)
        return settings.stall_timeout_first or FIRST[worker.device.partition(":")[0]]

    def _end(self, worker: Worker, silence: float) -> None:
        worker.stalled = True
        log.error("no report for %.0f s, ending the worker", silence, extra=worker.where)
        worker.kill(signal.SIGABRT)
        epoch = worker.epoch
        loop = asyncio.get_running_loop()
        loop.call_later(DUMP_SECONDS, lambda: worker.kill() if worker.epoch == epoch else None)
