"""Portraits that every worker keeps warm, in every incarnation."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable

from echod.jobs.life import MAX_DEATHS
from echod.workers import messages
from echod.workers.worker import Worker

log = logging.getLogger("echod.fleet")


class Portraits:
    """One under which workers die is left alone."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._wanted: tuple[messages.Prepare, ...] = ()
        self._deaths: Counter[messages.Prepare] = Counter()  # workers that died while they prepared one

    def prepare(self, portraits: Iterable[messages.Prepare]) -> None:
        """Have every worker warm these, from now on; whoever is busy does so after its job."""
        self._wanted = tuple(dict.fromkeys(portraits))
        for worker in self._workers:
            self.prepare_next(worker)

    def prepare_next(self, worker: Worker) -> None:
        """One at a time, so that a job waits for one of them at most."""
        seat = worker.seat
        if worker.state != "idle" or seat.preparing:
            return
        for order in self._wanted:
            if order not in seat.prepared and self._deaths[order] < MAX_DEATHS:
                if worker.send(order):
                    worker.seat, worker.last_report = seat.prepare(order), time.monotonic()
                return

    def prepared(self, worker: Worker, problem: str | None) -> None:
        if worker.seat.preparing is None:
            return
        if problem:
            log.warning("a portrait could not be prepared: %s", problem, extra=worker.where)
        worker.seat = worker.seat.warm()
        self.prepare_next(worker)

    def died(self, portrait: messages.Prepare) -> None:
        """A worker has, while it prepared this one."""
        self._deaths[portrait] += 1

    def revive(self) -> None:
        """Give all of them another chance."""
        self._deaths.clear()
