"""What /metrics shows. Nothing carries a job's id: that would make a time series of every job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from echod import __version__
from echod.jobs.feed import Feed
from echod.jobs.job import Job, Stage
from echod.speech.usage import SUMMED, Usage
from echod.workers.state import DeviceState, WorkerState

if TYPE_CHECKING:
    from echod.conversation.turn import Timings

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800)  # bucket bounds
LATENCIES = (0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 3, 5, 10, 30)


class Metrics(Collector):
    """Counters that are fed as things happen, and a view of queue and workers taken when somebody asks."""

    def __init__(
        self,
        *,
        queued: Callable[[], int],
        watchers: Callable[[], int],
        devices: Callable[[], Sequence[DeviceState]],
    ) -> None:
        self._queued, self._watchers, self._devices = queued, watchers, devices
        self.registry = CollectorRegistry()
        self.registry.register(self)
        count, time = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        self.jobs = count("echod_jobs", "Jobs that ended, by status and error code", ["status", "code"])
        self.jobs_resumed = count("echod_jobs_resumed", "Jobs that ended, and had gone on with what was left of them")
        self.windows_resumed = count("echod_windows_resumed", "Windows that these jobs had not to compute again")
        self.job_seconds = time("echod_job_seconds", "From dispatch to the end of a completed job", buckets=SECONDS)
        self.stage_seconds = time("echod_stage_seconds", "Wall time of a stage", ["stage"], buckets=SECONDS)
        called = ["function", "backend", "model"]
        self.speech_calls = count("echod_speech_calls", "Calls to hear, reply and speak", [*called, "outcome"])
        self.speech_used = count("echod_speech_used", "Tokens, characters and seconds of sound", [*called, "unit"])
        self.speech_first_seconds = time(
            "echod_speech_first_seconds", "From a call to its first output", called, buckets=LATENCIES
        )
        self.speech_seconds = time("echod_speech_seconds", "From a call to its end", called, buckets=LATENCIES)
        self.turns = count("echod_turns", "Turns of conversations that ended", ["status"])
        self.turn_seconds = time("echod_turn_seconds", "From the beginning of a turn", ["until"], buckets=LATENCIES)
        self.requests = count("echod_http_requests", "HTTP requests, by method and status", ["method", "status"])

    def finished(self, job: Job) -> None:
        """Count a job that has ended."""
        self.jobs.labels(job.status, job.error.code if job.error else "").inc()
        if job.windows_resumed:
            self.jobs_resumed.inc()
            self.windows_resumed.inc(job.windows_resumed)
        if job.status == "completed" and job.started_at and job.finished_at:
            self.job_seconds.observe(job.finished_at - job.started_at)
            for stage in get_args(Stage):
                if stage in job.timings_ms:
                    self.stage_seconds.labels(stage).observe(job.timings_ms[stage] / 1000)

    def turned(self, status: str, timings: Timings) -> None:
        """Count a turn of a conversation."""
        self.turns.labels(status).inc()
        for name, ms in vars(timings).items():
            if ms is not None:
                self.turn_seconds.labels(name.removesuffix("_ms")).observe(ms / 1000)

    def called(self, usage: Usage) -> None:
        """Count a call to a speech backend."""
        called = (usage.function, usage.backend, usage.model)
        self.speech_calls.labels(*called, usage.outcome).inc()
        self.speech_seconds.labels(*called).observe(usage.total_ms / 1000)
        if usage.first_ms is not None:
            self.speech_first_seconds.labels(*called).observe(usage.first_ms / 1000)
        for unit in SUMMED:
            self.speech_used.labels(*called, unit).inc(getattr(usage, unit))

    async def follow(self, feed: Feed) -> None:
        """Count every job that ends from now on; runs until cancelled."""
        watcher = feed.watch(None)
        try:
            async for event in watcher:
                if event.job.terminal and event.type != "job.snapshot":
                    self.finished(event.job)
        finally:
            watcher.close()

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """How things stand at this moment."""
        yield InfoMetricFamily("echod_build", "The running version", {"version": __version__})
        yield GaugeMetricFamily("echod_queue_jobs", "Jobs that wait for a worker", self._queued())
        yield GaugeMetricFamily(
            "echod_event_watchers", "Readers of events and streams, the metrics among them", self._watchers()
        )
        states = GaugeMetricFamily(
            "echod_worker_state", "1 for the state a worker is in", labels=["worker", "device", "state"]
        )
        restarts = CounterMetricFamily("echod_worker_restarts", "Deaths of a worker", labels=["worker", "device"])
        helped = CounterMetricFamily(
            "echod_helped_calls",
            "Windows and batches of frames computed for jobs of others",
            labels=["worker", "device"],
        )
        for row in self._devices():
            for state in get_args(WorkerState):
                states.add_metric([str(row.worker), row.device, state], float(state == row.state))
            restarts.add_metric([str(row.worker), row.device], row.restarts)
            helped.add_metric([str(row.worker), row.device], row.helped)
        yield states
        yield restarts
        yield helped
