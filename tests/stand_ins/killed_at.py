"""`ECHOD_TEST_POINT=... python -m tests.stand_ins.killed_at serve ...`: a daemon that dies at a point of the first
job's life.

Where a function of the daemon is patched, the point is before or after its work; nothing else about the daemon differs.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

from echod import daemon, gpu_proc
from echod.cli import main
from echod.jobs import desk, feed, life
from echod.jobs import folder as job_files
from echod.workers import attempt, fleet, messages, worker
from echod.workers.spec import Spec

POINTS = ("inputs", "row", "attempt", "sent", "publish", "done", "terminal")


def die(pid: int | None = None) -> None:
    os.kill(pid or os.getpid(), signal.SIGKILL)
    signal.pause()  # a worker, which dies with its daemon


def dying(
    work: Callable[..., Any], when: Callable[..., bool] = lambda *_: True, *, after: bool = False
) -> Callable[..., Any]:
    """`work`, and the end of this process before it or after it, once `when` says so of the arguments."""

    @functools.wraps(work)
    def patched(*arguments: Any) -> Any:
        dies = when(*arguments)
        if dies and not after:
            die()
        result = work(*arguments)
        if dies:
            die()
        return result

    return patched


def publishing(spec: Spec) -> None:
    """A worker whose daemon dies when the clip is published and nobody has been told."""
    make = attempt.Attempt.make

    def make_and_die(self: attempt.Attempt) -> life.Done:
        make(self)
        die(spec.parent)
        raise AssertionError("outlived its daemon")

    attempt.Attempt.make = make_and_die  # type: ignore[method-assign]
    gpu_proc.main(spec)


def _is_run(_worker: worker.Worker, order: messages.Order) -> bool:
    return isinstance(order, messages.Run)


def arm(point: str) -> None:
    """Patch one function."""
    own: Any = desk.Desk, worker.Worker, feed.Feed
    the_desk, the_worker, the_feed = own
    match point:
        case "inputs":  # they are on disk, synced
            job_files.take_inputs = dying(job_files.take_inputs, after=True)
        case "row":  # it is committed, and the answer not sent
            the_desk._enter = dying(the_desk._enter)
        case "attempt":  # it is committed, and the worker not told
            the_worker.send = dying(the_worker.send, _is_run)
        case "sent":  # the worker is told, and may have begun
            the_worker.send = dying(the_worker.send, _is_run, after=True)
        case "publish":
            vars(daemon)["Fleet"] = functools.partial(fleet.Fleet, main=publishing)
        case "done":  # the daemon has been told, and has committed nothing
            the_desk.apply = dying(the_desk.apply, lambda _self, _job, event: isinstance(event, life.Done))
        case "terminal":  # the end is committed, and no client told
            the_feed.publish = dying(the_feed.publish, lambda _self, type, _job: type == "job.completed")


if __name__ == "__main__":
    arm(os.environ["ECHOD_TEST_POINT"])
    main()
