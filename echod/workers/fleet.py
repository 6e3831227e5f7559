"""All workers: spawned, watched, dispatched to, and buried.

One PUSH socket per worker incarnation carries orders, one shared PULL takes reports. Which worker is idle is known
here, in memory: it has said Ready or ended its job, in its present epoch. Death is noticed by pidfd, silence by the
stall watch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec
import torch.cuda
import torch.multiprocessing
import zmq
import zmq.asyncio

from echod import gpu_proc
from echod.config import Config, Settings
from echod.errors import EchodError
from echod.gpu_proc import Spec
from echod.host.directories import create_private
from echod.jobs import life as jobs
from echod.jobs.desk import Desk
from echod.jobs.job import CONVERSATION, Job
from echod.workers import messages
from echod.workers.state import DeviceState
from echod.workers.worker import Main, Worker

log = logging.getLogger("echod.fleet")

DEATHS_BEFORE_READY = 5  # then a device counts as failed
WATCH_INTERVAL = 1.0  # seconds between two looks for stalled workers
LATE = 2.0  # seconds after which a look is late: the machine stood still, and its workers with it
STALL_FACTOR = 20  # rolling steps without a report
STALL_FIRST = {"cpu": 1800.0, "cuda": 300.0}  # seconds, until a device has timed one step
DUMP_SECONDS = 2.0  # between SIGABRT, which dumps the stacks, and SIGKILL
LAST_WORDS = 0.1  # seconds that the last reports of a dead worker may take through ZeroMQ's own thread
STOP_SECONDS = 3.0  # an idle worker's time to leave
MAX_REPORT = 2**20  # bytes; whoever sends more is cut off
GIVE_UP_SECONDS = 10.0  # then even one that SIGKILL does not end is left behind


def find_devices(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The devices to use: those named, or with "auto" every CUDA device, or else the CPU."""
    if wanted != ("auto",):
        return wanted
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or ("cpu",)


def worker_spec(config: Config, devices: tuple[str, ...], engines: tuple[str, ...]) -> Spec:
    """What all workers have in common. The CPU's cores are shared out among the workers that compute on it."""
    directory = config.runtime_dir / "workers"
    on_cpu = sum(device.startswith("cpu") for device in devices)
    return Spec(
        engines=engines,
        weights=str(config.weights_dir),
        directory=str(directory),
        reports=str(directory / "reports"),
        parent=os.getpid(),
        threads=max(1, (os.cpu_count() or 1) // max(1, on_cpu)),
        log_level=config.log_level,
        log_json=config.log_json,
    )


class Fleet:
    """The workers of this host. Use inside a running event loop, in the main thread."""

    def __init__(self, settings: Settings, desk: Desk, devices: tuple[str, ...], main: Main = gpu_proc.main) -> None:
        spec = worker_spec(settings.now, devices, desk.engines)
        create_private(Path(spec.directory))
        self._settings = settings
        self.desk = desk
        self.workers = [Worker(index, device, spec, main) for index, device in enumerate(devices)]
        self.draining = False
        self.on_change: Callable[[], None] = lambda: None
        self._reports_path = spec.reports
        self._avoid: dict[str, int] = {}  # job id -> worker that died under it
        self._portraits: tuple[messages.Prepare, ...] = ()  # those to keep warm
        self._deadly: Counter[messages.Prepare] = Counter()  # workers that died while they prepared one
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rest = asyncio.Event()  # set when no worker is busy
        self._spawner = torch.multiprocessing.get_context("spawn")

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = zmq.asyncio.Context()
        self._reports = self._context.socket(zmq.PULL)
        self._reports.linger = 0
        self._reports.maxmsgsize = MAX_REPORT
        Path(self._reports_path).unlink(missing_ok=True)
        self._reports.bind(f"ipc://{self._reports_path}")
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(self._finished)
        self._plan_watch()
        for worker in self.workers:
            self._spawn(worker)

    # Workers come and go

    def _spawn(self, worker: Worker) -> None:
        if self.draining or worker.alive:
            return
        try:
            worker.spawn(self._context, self._spawner)
        except (OSError, zmq.ZMQError) as error:  # no process, no descriptor, no room: this may pass
            self._plan_return(worker, f"could not be started: {error}")
        else:
            self._loop.add_reader(worker.pidfd, self._died, worker)
            log.info("worker starting", extra=_of(worker))
        self.on_change()

    def _died(self, worker: Worker) -> None:
        self._loop.remove_reader(worker.pidfd)
        self._take_last_words(worker)
        ending = worker.bury()
        if self.draining:
            worker.state = "stopping"
        else:
            self._plan_return(worker, ending)
        self._release_jobs(worker, ending)
        self._settle()
        self.on_change()
        self.wake()  # a job that avoids another device may go there now, if this one has failed

    def _release_jobs(self, worker: Worker, ending: str) -> None:
        running, suspended, sent = worker.running, worker.suspended, worker.sent
        worker.running = worker.suspended = None
        if worker.preparing:  # what was sent behind it has not begun: the death is the portrait's
            self._deadly[worker.preparing] += 1
            for job in (suspended, running if sent else None):
                if job:
                    self._do(self.desk.apply(job.id, jobs.Requeued(job.attempt)))
            return
        if suspended and not worker.begun:  # it never let the job on top begin: the death is its own
            if running and sent:
                self._do(self.desk.apply(running.id, jobs.Requeued(running.attempt)))
            running, suspended, sent = suspended, None, True
        if suspended:
            self._do(self.desk.apply(suspended.id, jobs.Requeued(suspended.attempt)))
        if running and sent and not self.draining:
            self._avoid = {id: index for id, index in self._avoid.items() if self.desk.lives(id)}
            self._avoid[running.id] = worker.index
            lost = jobs.Lost(running.attempt, worker.stalled, f"{worker.device} {ending}")
            self._do(self.desk.apply(running.id, lost))
        elif running and sent:
            self._do(self.desk.apply(running.id, jobs.Requeued(running.attempt)))
        # One that was not sent yet is given back by `_dispatch`, once its attempt is committed.

    def _plan_return(self, worker: Worker, ending: str) -> None:
        worker.deaths_since_ready += 1
        refused = worker.refused
        worker.reason = refused.reason if refused else f"stalled, {ending}" if worker.stalled else ending
        if (refused and refused.final) or worker.deaths_since_ready >= DEATHS_BEFORE_READY:
            worker.state = "failed"
            log.error("device failed: %s", worker.reason, extra=_of(worker))
            return
        worker.state = "starting"
        log.warning("worker died: %s; again in %.0f s", worker.reason, worker.backoff, extra=_of(worker))
        self._loop.call_later(worker.backoff, self._spawn, worker)

    def revive(self) -> None:
        """Give failed devices another chance, and portraits under which workers died."""
        self._deadly.clear()
        for worker in self.workers:
            if worker.state == "failed":
                worker.deaths_since_ready, worker.reason, worker.state = 0, None, "starting"
                self._spawn(worker)

    # Reports

    async def _read(self) -> None:
        while True:
            self._handle(await self._reports.recv())

    def _take_last_words(self, worker: Worker) -> None:
        """What a worker has said before it died. Why it left, or how its job ended, is worth waiting for."""
        socket: zmq.Socket[bytes] = zmq.Socket.shadow(self._reports.underlying)
        until = time.monotonic() + LAST_WORDS
        while True:
            owes = worker.running or worker.preparing or (worker.state == "starting" and not worker.refused)
            if not socket.poll(max(0, round(1000 * (until - time.monotonic()))) if owes else 0):
                return
            self._handle(socket.recv(zmq.NOBLOCK))

    def _handle(self, data: bytes) -> None:
        """What is no report is dropped: whoever of our own user has sent it must not end the reading of others."""
        try:
            self._take(messages.decode_envelope(data))
        except (msgspec.MsgspecError, ValueError, RecursionError, IndexError) as error:
            log.warning("%d bytes that are no report were dropped: %s", len(data), error)
        except Exception:
            log.exception("a report could not be taken")

    def _take(self, envelope: messages.Envelope) -> None:
        worker = self.workers[envelope.worker]
        if envelope.epoch != worker.epoch or not worker.alive:
            return
        worker.last_report = time.monotonic()
        match envelope.report:
            case messages.Hello() as hello:
                worker.hello = hello
            case messages.Ready() as ready:
                self._ready(worker, ready)
            case messages.Refused() as refused:
                worker.refused = refused
            case messages.Moved() as moved:
                self._moved(worker, moved)
            case messages.Began(job=job):
                worker.step_s = None
                worker.begun = worker.begun or (worker.running is not None and worker.running.id == job)
            case messages.Prepared(problem=problem):
                self._prepared(worker, problem)
            case messages.Alive():
                pass

    def _ready(self, worker: Worker, ready: messages.Ready) -> None:
        worker.deaths_since_ready, worker.reason = 0, None
        worker.loads += 1
        worker.engines = ready.engines
        self._idle(worker)
        log.info("worker ready in %.1f s", ready.load_ms / 1000, extra=_of(worker))
        self.on_change()

    def _idle(self, worker: Worker) -> None:
        worker.state = "idle"
        worker.idle_since = time.monotonic()
        self._settle()
        self._prepare_next(worker)
        self.wake()

    def _moved(self, worker: Worker, moved: messages.Moved) -> None:
        if isinstance(moved.event, jobs.Progressed):
            worker.step_s = moved.step_s or None
        elif not isinstance(moved.event, jobs.FirstFrame) and not self._ended(worker, moved):
            return
        self._do(self.desk.apply(moved.job, moved.event))

    def _ended(self, worker: Worker, moved: messages.Moved) -> bool:
        """Whether the worker held the job that it says has ended."""
        if worker.running and worker.running.id == moved.job:
            if moved.sticky:
                worker.running = None  # it is leaving: a job sent now would be lost with it
            else:
                self._resume(worker)
        elif worker.suspended and worker.suspended.id == moved.job:
            worker.suspended = None  # it ended before the job on top of it arrived
        else:
            return False
        self._avoid.pop(moved.job, None)
        self.on_change()
        return True

    # Portraits kept warm

    def prepare(self, portraits: Iterable[messages.Prepare]) -> None:
        """Have every worker warm these, from now on and in every incarnation; whoever is busy does so after its job."""
        self._portraits = tuple(dict.fromkeys(portraits))
        for worker in self.workers:
            self._prepare_next(worker)

    def _prepare_next(self, worker: Worker) -> None:
        """One at a time, so that a job waits for one of them at most."""
        if worker.state != "idle" or worker.preparing:
            return
        for order in self._portraits:
            if order not in worker.prepared and self._deadly[order] < jobs.MAX_DEATHS:
                if worker.send(order):
                    worker.preparing, worker.last_report = order, time.monotonic()
                return

    def _prepared(self, worker: Worker, problem: str | None) -> None:
        if worker.preparing is None:
            return
        if problem:
            log.warning("a portrait could not be prepared: %s", problem, extra=_of(worker))
        worker.prepared.add(worker.preparing)
        worker.preparing = None
        self._prepare_next(worker)

    # Dispatch

    def wake(self) -> None:
        """Send queued jobs to the longest-idle workers; a conversation job goes on top of a batch job if it must."""
        if self.draining:
            return
        idle = [worker for worker in self.workers if worker.state == "idle"]
        for worker in sorted(idle, key=lambda worker: worker.idle_since):
            if job := self.desk.queue.pop(self._suits(worker)):
                self._reserve(worker, job)
        for worker in self.workers:
            if self._interruptible(worker) and (
                job := self.desk.queue.pop(self._suits(worker), conversation_only=True)
            ):
                worker.suspended = worker.running
                self._reserve(worker, job)

    def _suits(self, worker: Worker) -> Callable[[Job], bool]:
        others = any(other.state != "failed" for other in self.workers if other is not worker)
        return lambda job: not (others and self._avoid.get(job.id) == worker.index)

    def _interruptible(self, worker: Worker) -> bool:
        return (
            worker.state == "busy"
            and worker.sent
            and worker.suspended is None
            and worker.running is not None
            and worker.running.priority < CONVERSATION
        )

    def _reserve(self, worker: Worker, job: Job) -> None:
        worker.state, worker.running, worker.sent, worker.begun = "busy", job, False, False
        self._rest.clear()
        self._do(self._dispatch(worker, job, worker.epoch))
        self.on_change()

    async def _dispatch(self, worker: Worker, job: Job, epoch: int) -> None:
        begun = await self.desk.begin(job.id, worker.device)
        if worker.epoch != epoch or not worker.alive or worker.running is None or worker.running.id != job.id:
            if begun:
                await self.desk.apply(job.id, jobs.Requeued(begun.attempt))
        elif begun is None or begun.cancel_requested:
            self._resume(worker)
            await self.desk.apply(job.id, jobs.Cancelled())
        else:
            worker.running, worker.sent, worker.last_report = begun, True, time.monotonic()
            if not worker.send(self._order(begun)):  # gone, or deaf: either way it will not run this job
                worker.running = None
                worker.kill()
                await self.desk.apply(job.id, jobs.Requeued(begun.attempt))

    def _resume(self, worker: Worker) -> None:
        """The job on top has ended; go on with the one below, or rest."""
        worker.running, worker.suspended, worker.sent, worker.begun = worker.suspended, None, True, True
        worker.step_s = None  # it was of the job that ended, perhaps of a smaller one
        if worker.running is None:
            self._idle(worker)

    def _order(self, job: Job) -> messages.Run:
        assert job.speech is not None  # what has none is not in the queue
        most, spare = self.desk.quota.allowance(job.account)
        return messages.Run(
            job=job.id,
            attempt=job.attempt,
            priority=job.priority,
            engine=job.engine,
            options=job.options,
            directory=str(self.desk.directory(job.id)),
            box=job.portrait.box,
            portrait_sha256=job.portrait.sha256,
            speech_sha256=job.speech.sha256,
            most=most,
            spare=spare,
        )

    def cancel(self, job: Job) -> None:
        for worker in self.workers:
            for held in (worker.running, worker.suspended):
                if held and held.id == job.id and worker.alive:
                    worker.send(messages.Cancel(job.id, job.attempt))

    def refusal(self) -> EchodError | None:
        if all(worker.state == "failed" for worker in self.workers):
            reasons = "; ".join(f"{worker.device}: {worker.reason}" for worker in self.workers)
            return EchodError("no_device", f"no device works ({reasons}); repair it, then `systemctl reload echod`")
        return None

    # Stall watch

    def _plan_watch(self) -> None:
        self._watch_due = time.monotonic() + WATCH_INTERVAL
        self._watch_timer = self._loop.call_later(WATCH_INTERVAL, self._watch)

    def _watch(self) -> None:
        now = time.monotonic()
        if (late := now - self._watch_due) > LATE:
            for worker in self.workers:
                worker.last_report = min(now, worker.last_report + late)
        self._plan_watch()
        for worker in self.workers:
            # One whose job is still being committed has nothing to report: it may have been idle for hours.
            busy = worker.state == "busy" and (worker.sent or worker.suspended)
            works = busy or worker.state == "starting" or worker.preparing
            silence = time.monotonic() - worker.last_report
            if worker.alive and works and silence > self._patience(worker):
                self._end_stalled(worker, silence)

    def _patience(self, worker: Worker) -> float:
        if worker.step_s is not None:
            return max(self._settings.now.stall_timeout, STALL_FACTOR * worker.step_s)
        return self._settings.now.stall_timeout_first or STALL_FIRST[worker.device.partition(":")[0]]

    def _end_stalled(self, worker: Worker, silence: float) -> None:
        if worker.stalled:
            return
        worker.stalled = True
        log.error("no report for %.0f s, ending the worker", silence, extra=_of(worker))
        worker.kill(signal.SIGABRT)
        epoch = worker.epoch
        self._loop.call_later(DUMP_SECONDS, lambda: worker.kill() if worker.epoch == epoch else None)

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
                log.error("the worker does not die, leaving without it", extra=_of(worker))
                self._loop.remove_reader(worker.pidfd)
                worker.abandon()
        self.desk.closing = True  # nobody works any more: what cannot be committed now is for the next start
        self._watch_timer.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, *self._tasks, return_exceptions=True)
        self._reports.close()
        self._context.term()
        Path(self._reports_path).unlink(missing_ok=True)

    def _settle(self) -> None:
        if not any(worker.running for worker in self.workers):
            self._rest.set()

    def devices(self) -> list[DeviceState]:
        return [worker.describe() for worker in self.workers]

    def _do(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a step of a job failed", exc_info=error)


def _of(worker: Worker) -> dict[str, Any]:
    return {"device": worker.device, "worker": worker.index, "epoch": worker.epoch}
