"""Idle workers that help with what others run: who, with what, and for how long."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from echod.jobs.job import Job
from echod.workers import messages
from echod.workers.worker import Worker

HELPERS_LOST = 2  # then a job runs alone
REST = 1.0  # seconds for a worker that found nothing to help with


class Helpers:
    """Whoever helps is idle to everybody else, and lets go of it as soon as there is a job."""

    def __init__(self, workers: list[Worker], directory: Callable[[str], Path]) -> None:
        self._workers = workers
        self._directory = directory
        self._lost: Counter[str] = Counter()  # job id -> workers that died while they helped with it

    def share(self) -> bool:
        """Have whoever is idle help: with conversations first, then where most is left. Whether somebody was sent."""
        running = [
            (job, owner)
            for owner in self._workers
            if owner.numbers and owner.left > 1 and owner.seat.begun and (job := owner.seat.running)
        ]
        if not running:
            return False
        sent, now = False, time.monotonic()
        for worker in self._workers:
            if not (worker.numbers and worker.free_to_help and worker.rests_until <= now):
                continue
            if jobs := [(job, owner) for job, owner in running if self._may_help(worker, job, owner)]:
                sent |= self._send(worker, *max(jobs, key=lambda each: (each[0].priority, each[1].left)))
        return sent

    def _may_help(self, worker: Worker, job: Job, owner: Worker) -> bool:
        numbers = owner.numbers.get(job.engine)
        return numbers is not None and numbers == worker.numbers.get(job.engine) and self._lost[job.id] < HELPERS_LOST

    def _send(self, worker: Worker, job: Job, owner: Worker) -> bool:
        if not worker.send(messages.Help(job.id, job.engine, str(self._directory(job.id)))):
            return False
        worker.seat, worker.last_report = worker.seat.help(job.id), time.monotonic()
        worker.step_s = owner.step_s
        return True

    def helped(self, worker: Worker, calls: int, *, over: bool) -> bool:
        """A worker has said how much it did so far. Whether there is more of that than before."""
        new = calls - worker.seat.calls
        worker.helped += new
        worker.seat = worker.seat.helped(calls, over=over)
        if over:
            worker.step_s, worker.rests_until = None, 0.0 if calls else time.monotonic() + REST
        return new > 0

    def died(self, job_id: str) -> None:
        """A worker has, while it helped with this job."""
        self._lost[job_id] += 1

    def of(self, job_id: str) -> list[str]:
        return [worker.name for worker in self._workers if worker.seat.helping == job_id and worker.state == "idle"]

    def could_help(self, worker: Worker) -> list[str]:
        """Who computes the same numbers as this one."""
        if not (numbers := worker.numbers.items()):
            return []
        return [other.name for other in self._workers if other is not worker and numbers & other.numbers.items()]
