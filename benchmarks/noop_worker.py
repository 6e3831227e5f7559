"""A worker that takes orders and reports as the real one does, and makes nothing in between.

python -m benchmarks.noop_worker serve ...      a daemon whose workers are of this kind
"""

from __future__ import annotations

import sys
import time
from functools import partial

from echod import gpu_proc
from echod.jobs import life
from echod.workers import messages
from echod.workers.spec import Spec

COMMAND = (sys.executable, "-m", "benchmarks.noop_worker")


class NoOp(gpu_proc.GpuProc):
    """Its Done says when the job arrived, as `timings_ms["began_ns"]` of the monotonic clock all processes share."""

    def load(self) -> None:
        self.report(messages.Ready(engines=list(self.spec.engines), load_ms=0))

    def run(self, order: messages.Run) -> None:
        began = {"began_ns": time.monotonic_ns()}
        self.report(messages.Began(order.job, order.attempt))
        done = life.Done(attempt=order.attempt, frames=0, crop=(0, 0, 1, 1), faces=1, timings_ms=began)
        self.report(messages.Moved(job=order.job, event=done))


def main(spec: Spec) -> None:
    gpu_proc.GpuProc = NoOp  # type: ignore[misc]
    gpu_proc.main(spec)


if __name__ == "__main__":
    from benchmarks import noop_worker
    from echod import cli, daemon
    from echod.workers.fleet import Fleet

    daemon.Fleet = partial(Fleet, main=noop_worker.main)  # type: ignore[misc, assignment]
    cli.main()
