"""All workers: hired, spawned, watched, dispatched to, and buried.

One PUSH socket per worker incarnation carries orders, one shared PULL takes reports. Which worker is idle is known
here, in memory: it has said Ready or ended its job, in its present epoch. Death is noticed by a descriptor, silence by
the stall watch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import torch.multiprocessing
import zmq
import zmq.asyncio

from echod import gpu_proc
from echod.config import Settings
from echod.errors import EchodError
from echod.host.cluster import is_far
from echod.host.directories import create_private
from echod.jobs import life
from echod.jobs.desk import Desk
from echod.jobs.job import Job
from echod.provenance import certificate
from echod.workers import messages
from echod.workers.cluster.far import Link
from echod.workers.hand import Main, Near
from echod.workers.helpers import Helpers
from echod.workers.portraits import Portraits
from echod.workers.reports import Reports
from echod.workers.roster import Roster
from echod.workers.seat import Seat
from echod.workers.spec import worker_spec
from echod.workers.stalls import StallWatch
from echod.workers.state import Cluster, DeviceState, Ending
from echod.workers.worker import Worker

log = logging.getLogger("echod.fleet")

STOP_SECONDS = 3.0  # an idle worker's time to leave
GIVE_UP_SECONDS = 10.0  # then even one that SIGKILL does not end is left behind


class Fleet:
    """The workers of this daemon. Use inside a running event loop, in the main thread.

    Of each device in `following` there are as many as the cluster has.
    """

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        devices: tuple[str, ...],
        main: Main = gpu_proc.main,
        following: tuple[str, ...] = (),
    ) -> None:
        spec = worker_spec(settings.now, devices, desk.engines)
        create_private(Path(spec.directory))
        self.desk = desk
        near = partial(Near, main, torch.multiprocessing.get_context("spawn"))
        self._link = Link(spec, main, cpus=devices.count("ray/cpu"))

        def hire(index: int, device: str, name: str) -> Worker:
            return Worker(index, device, name, spec, self._link.start if is_far(device) else near)

        self.cluster: Cluster | None = None  # None until something is known of it
        self.roster = Roster(devices, following, hire, settings.now.speech_device)
        self.workers = self.roster.workers
        self.portraits = Portraits(self.workers)
        self._helpers = Helpers(self.workers, desk.directory)
        self.draining = False
        self.on_change: Callable[[], None] = lambda: None
        self.reports = Reports(spec.reports, self._take)
        self.stall_watch = StallWatch(self.workers, settings)
        self._avoid: dict[str, int] = {}  # job id -> worker that died under it
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rest = asyncio.Event()  # set when no worker is busy
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = zmq.asyncio.Context()
        self.reports.open(self._context)
        self._reader = asyncio.create_task(self.reports.read())
        self._reader.add_done_callback(self._finished)
        self.stall_watch.start()
        if self.roster.following or any(worker.far for worker in self.workers):
            self._watching = asyncio.create_task(self._link.watch(self.follow))
            self._watching.add_done_callback(self._finished)
        for worker in self.workers:
            self._spawn(worker)

    # Devices join and leave

    def follow(self, cluster: Cluster) -> None:
        """The cluster is like this now. Who is to leave ends its job first."""
        self.cluster = cluster
        if not (cluster.problem or self.draining):
            for worker in self.roster.to_leave(cluster):
                self._let_go(worker)
            for device in list(self.roster.to_hire(cluster)):
                self._spawn(self.roster.hire(device))
        self.on_change()
        self.wake()

    def _let_go(self, worker: Worker) -> None:
        worker.leaves = True
        if not worker.alive:
            self._has_left(worker)
        elif worker.seat.state == "starting" or (worker.seat.state == "idle" and not worker.send(messages.Stop())):
            worker.kill()
        elif worker.seat.state == "idle":
            epoch = worker.epoch
            self._loop.call_later(STOP_SECONDS, lambda: worker.kill() if worker.epoch == epoch else None)

    def _has_left(self, worker: Worker) -> None:
        """Where the cluster is followed that was the end; else it goes to another of its devices."""
        if self.roster.follows(worker):
            log.info("worker has left", extra=worker.where)
            self.workers.remove(worker)
        else:
            self._spawn(worker)

    # Workers come and go

    def _spawn(self, worker: Worker) -> None:
        if self.draining or worker.alive or worker not in self.workers:
            return
        try:
            worker.spawn(self._context)
        except (OSError, zmq.ZMQError) as error:  # no process, no descriptor, no room: this may pass
            self._plan_return(worker, Ending("not_started", f"could not be started: {error}"))
        else:
            self._loop.add_reader(worker.fd, self._died, worker)
            log.info("worker starting", extra=worker.where)
        self.on_change()

    def _died(self, worker: Worker) -> None:
        self._loop.remove_reader(worker.fd)
        self.reports.read_last(lambda: worker.seat.owes and not worker.not_ready)
        ending = worker.bury()
        self._release_jobs(worker, ending)
        if self.draining:
            worker.over = "stopping"
        elif worker.leaves:
            self._has_left(worker)
        else:
            self._plan_return(worker, ending)
        self._settle()
        self.on_change()
        self.wake()  # a job that avoids another device may go there now, if this one has failed

    def _release_jobs(self, worker: Worker, ending: Ending) -> None:
        seat, worker.seat = worker.seat, Seat()
        if seat.preparing:
            self.portraits.died(seat.preparing)
        elif seat.helping and not seat.begun:
            self._helpers.died(seat.helping)
        blamed, others = seat.lost()
        for job in others:
            self._apply(job.id, life.Requeued(job.attempt))
        if blamed and self.draining:
            self._apply(blamed.id, life.Requeued(blamed.attempt))
        elif blamed:
            self._avoid = {id: index for id, index in self._avoid.items() if self.desk.lives(id)}
            self._avoid[blamed.id] = worker.index
            self._apply(blamed.id, life.Lost(blamed.attempt, worker.stalled, f"{worker.name} {ending.words}"))

    def _plan_return(self, worker: Worker, ending: Ending) -> None:
        worker.has_died(ending)
        if worker.state == "failed":
            log.error("device failed: %s", worker.reason, extra=worker.where)
            return
        log.warning("worker died: %s; again in %.0f s", worker.reason, worker.backoff, extra=worker.where)
        self._loop.call_later(worker.backoff, self._spawn, worker)

    def revive(self) -> None:
        """Give failed devices another chance, and portraits under which workers died."""
        self.portraits.revive()
        for worker in self.workers:
            if worker.state == "failed":
                worker.revive()
                self._spawn(worker)

    # Reports

    def _take(self, envelope: messages.Envelope) -> None:
        worker = self.roster[envelope.worker]
        if envelope.epoch != worker.epoch or not worker.alive:
            return
        worker.last_report = time.monotonic()
        match envelope.report:
            case messages.Hello() as hello:
                worker.hello = hello
            case messages.Ready() as ready:
                self._ready(worker, ready)
            case messages.NotReady() as not_ready:
                worker.not_ready = not_ready
            case messages.Memory() as memory:
                worker.memory = memory
            case messages.Moved() as moved:
                self._moved(worker, moved)
            case messages.Began(job=job):
                worker.seat, worker.step_s = worker.seat.began(job), None
            case messages.Prepared(problem=problem):
                self.portraits.prepared(worker, problem)
            case messages.Helped(calls=calls, over=over):
                self._helped(worker, calls, over)
            case messages.Alive(doing=doing):
                if worker.is_doing(doing):  # else it comes many times a second, from whoever waits for a helper
                    self.on_change()

    def _ready(self, worker: Worker, ready: messages.Ready) -> None:
        worker.is_ready(ready)
        self._idle(worker)
        log.info("worker ready in %.1f s", ready.load_ms / 1000, extra=worker.where)
        self.on_change()

    def _idle(self, worker: Worker) -> None:
        worker.idle_since = time.monotonic()
        self._settle()
        self.portraits.prepare_next(worker)
        self.wake()

    def _moved(self, worker: Worker, moved: messages.Moved) -> None:
        if isinstance(moved.event, life.Progressed):
            worker.step_s = moved.step_s or None
            worker.left = moved.event.windows_total - moved.event.windows_done
            self._share()
        elif not isinstance(moved.event, life.FirstFrame):
            if not worker.seat.holds(moved.job):
                return
            self._ended(worker, moved.job, leaving=moved.sticky)
            self._avoid.pop(moved.job, None)
            self.on_change()
        self._apply(moved.job, moved.event)

    def _ended(self, worker: Worker, job_id: str, *, leaving: bool = False) -> None:
        worker.seat = worker.seat.ended(job_id, leaving=leaving)
        worker.step_s = None  # it was of the job that ended, perhaps of a smaller one
        if worker.state == "idle":
            self._idle(worker)
        elif worker.leaves and worker.seat.state == "idle":
            self._let_go(worker)
            self._settle()

    # Dispatch

    def wake(self) -> None:
        """Send queued jobs to the longest-idle workers, those of conversations to one of this machine if there is one;
        a conversation job goes on top of a batch job if it must.
        """
        if self.draining:
            return
        if self.desk.queue:
            idle = sorted(
                (worker for worker in self.workers if worker.state == "idle"), key=lambda each: each.idle_since
            )
            self._deal([worker for worker in idle if not worker.far], conversation_only=True)
            self._deal([worker for worker in idle if worker.state == "idle"])
            below = [worker for worker in self.workers if worker.state == "busy" and worker.seat.interruptible]
            self._deal(below, conversation_only=True)
        self._share()

    def _deal(self, workers: list[Worker], *, conversation_only: bool = False) -> None:
        for worker in workers:
            if job := self.desk.queue.pop(self._suits(worker), conversation_only=conversation_only):
                self._reserve(worker, job)

    def _share(self) -> None:
        if not self.draining and self._helpers.share():
            self.on_change()

    def _helped(self, worker: Worker, calls: int, over: bool) -> None:
        if (job_id := worker.seat.helping) is None:
            return
        if self._helpers.helped(worker, calls, over=over):
            self._apply(job_id, life.Helped(worker.name))
        if over:
            self._share()
        self.on_change()

    def _suits(self, worker: Worker) -> Callable[[Job], bool]:
        others = any(other.state not in ("failed", "stopping") for other in self.workers if other is not worker)
        return lambda job: not (others and self._avoid.get(job.id) == worker.index)

    def _reserve(self, worker: Worker, job: Job) -> None:
        worker.seat = worker.seat.reserve(job)
        self._rest.clear()
        self._do(self._dispatch(worker, job, worker.epoch))
        self.on_change()

    async def _dispatch(self, worker: Worker, job: Job, epoch: int) -> None:
        computed = worker.computed.get(job.engine, {})
        attempt = await self.desk.begin(job.id, worker.name, computed.get("dtype"), computed.get("approximation"))
        if worker.epoch != epoch or not worker.alive or not worker.seat.holds(job.id):
            if attempt:
                await self.desk.apply(job.id, life.Requeued(attempt.attempt))
        elif attempt is None or attempt.cancel_requested:
            self._ended(worker, job.id)
            await self.desk.apply(job.id, life.Cancelled())
        else:
            worker.seat, worker.last_report = worker.seat.told(attempt), time.monotonic()
            if not worker.send(self._order(attempt)):  # gone, or deaf: either way it will not run this job
                worker.seat = worker.seat.ended(job.id, leaving=True)
                worker.kill()
                await self.desk.apply(job.id, life.Requeued(attempt.attempt))

    def _order(self, job: Job) -> messages.Run:
        assert job.speech is not None  # what has none is not in the queue
        most, spare = self.desk.quota.allowance(job.account)
        return messages.Run(
            job=job.id,
            attempt=job.attempt,
            engine=job.engine,
            options=job.options,
            directory=str(self.desk.directory(job.id)),
            box=job.box,
            portrait_sha256=job.portrait.sha256,
            speech_sha256=job.speech.sha256,
            most=most,
            spare=spare,
            producer=self.desk.settings.now.content_producer,
            identity=certificate.paths(self.desk.settings.now),
        )

    def cancel(self, job: Job) -> None:
        for worker in self.workers:
            if worker.seat.holds(job.id) and worker.alive:
                worker.send(messages.Cancel(job.id, job.attempt))

    def refusal(self) -> EchodError | None:
        return self.roster.refusal(self.cluster)

    # The end

    async def drain(self, timeout: float, hurry: asyncio.Event) -> None:
        """Let running jobs finish for up to `timeout` seconds or until `hurry`, then stop every worker."""
        self.draining = True
        self._settle()
        waits = [asyncio.create_task(self._rest.wait()), asyncio.create_task(hurry.wait())]
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await self._stop()

    async def _stop(self) -> None:
        for worker in self.workers:
            if not (worker.state == "idle" and worker.send(messages.Stop())):
                worker.kill()
        began = time.monotonic()
        while any(worker.alive for worker in self.workers) and time.monotonic() < began + GIVE_UP_SECONDS:
            if time.monotonic() > began + STOP_SECONDS:
                for worker in self.workers:
                    worker.kill()
            await asyncio.sleep(0.02)
        for worker in self.workers:
            if worker.alive:  # a driver holds it; it dies when that lets go
                log.error("the worker does not die, leaving without it", extra=worker.where)
                self._loop.remove_reader(worker.fd)
                worker.abandon()
        self.desk.closing = True  # nobody works any more: what cannot be committed now is for the next start
        self.stall_watch.stop()
        self._reader.cancel()
        if self._watching:
            self._watching.cancel()
        await asyncio.gather(self._reader, *self._tasks, return_exceptions=True)
        self._link.close()
        self.reports.close()
        self._context.term()

    def _settle(self) -> None:
        if not any(worker.seat.running for worker in self.workers):
            self._rest.set()

    def devices(self) -> list[DeviceState]:
        return [
            worker.describe(self._helpers.could_help(worker), self.roster.shares(worker)) for worker in self.workers
        ]

    def helpers(self, job_id: str) -> list[str]:
        return self._helpers.of(job_id)

    def _apply(self, job_id: str, event: life.Event) -> None:
        self._do(self.desk.apply(job_id, event))

    def _do(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a step of a job failed", exc_info=error)
