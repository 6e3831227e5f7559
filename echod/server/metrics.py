"""What /metrics shows. Nothing carries a job's id: that would make a time series of every job."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from echod.jobs.feed import Feed, FeedEvent
from echod.jobs.job import CONVERSATION, Job, Stage
from echod.server.present import Present, PresentCollector
from echod.speech.usage import SUMMED, Usage

if TYPE_CHECKING:
    from echod.conversation.turn import Timings

# Bucket bounds, in seconds: what is made of half an hour of speech may take many times as long.
SECONDS = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10_800, 36_000)
WAITS = (0.03, 0.1, 0.3, 0.5, 0.8, 1.2, 2, 3, 5, 10, 30, 60, 180, 600, 1800, 3600, 10_800)
LATENCIES = (0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 3, 5, 10, 30)

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is stored, and nothing reads them


class Metrics:
    """Counters that are fed as things happen, and a view of the present taken when somebody asks."""

    def __init__(self, look: Callable[[], Present]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(PresentCollector(look))
        count, time = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        of, waits = ["engine"], ["engine", "kind"]
        self.jobs = count("echod_jobs", "Jobs that ended, by status and error code", [*of, "status", "code"])
        self.jobs_resumed = count("echod_jobs_resumed", "Jobs that ended, and had gone on with what was left", of)
        self.windows_resumed = count("echod_windows_resumed", "Windows that these jobs had not to compute again", of)
        self.window_calls = count("echod_window_calls", "Window calls computed, by whomever", of)
        self.frames = count("echod_frames", "Frames of completed clips", of)
        self.queue_seconds = time(
            "echod_queue_seconds", "From acceptance, or the end of speaking, to dispatch", waits, buckets=WAITS
        )
        self.first_frame_seconds = time(
            "echod_first_frame_seconds", "From acceptance to a clip that can be played", waits, buckets=WAITS
        )
        self.job_seconds = time("echod_job_seconds", "From dispatch to the end of a completed job", of, buckets=SECONDS)
        self.stage_seconds = time("echod_stage_seconds", "Time of a stage", [*of, "stage"], buckets=SECONDS)
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
        self.deliveries = count(
            "echod_webhook_attempts", "Attempts to tell webhooks, by what came of them", ["outcome"]
        )
        for outcome in ("delivered", "tried", "failed"):  # from 0 on, so that the first one is seen as an increase
            self.deliveries.labels(outcome)
        self._windows: dict[str, tuple[int, int]] = {}  # of jobs that live: the attempt, its windows that are counted
        self._playable: set[str] = set()  # jobs whose first frame is counted

    async def follow(self, feed: Feed) -> None:
        """Count what happens to every job from now on; runs until cancelled."""
        watcher = feed.watch(None)
        try:
            async for event in watcher:
                self.happened(event)
        finally:
            watcher.close()

    def happened(self, event: FeedEvent) -> None:
        job, kind = event.job, "conversation" if event.job.priority == CONVERSATION else "batch"
        if event.type == "job.snapshot":  # what an earlier daemon has counted
            self._windows[job.id] = job.attempt, job.windows_done
        elif event.type == "job.started" and job.attempt == 1 and job.started_at:
            ready = job.created_at + (job.speak_ms or 0) / 1000
            self.queue_seconds.labels(job.engine, kind).observe(max(0.0, job.started_at - ready))
        elif event.type == "job.first_frame" and job.id not in self._playable:
            self._playable.add(job.id)
            self.first_frame_seconds.labels(job.engine, kind).observe(max(0.0, event.ts - job.created_at))
        self._count_windows(job)
        if job.terminal:
            self._windows.pop(job.id, None)
            self._playable.discard(job.id)
            if event.type != "job.snapshot":
                self.finished(job)

    def _count_windows(self, job: Job) -> None:
        """What is news of them since the last event of the job; an attempt begins with those it resumed."""
        if not job.windows_total:
            return
        attempt, counted = self._windows.get(job.id, (0, 0))
        if attempt != job.attempt:
            counted = job.windows_resumed
        self.window_calls.labels(job.engine).inc(max(0, job.windows_done - counted))
        self._windows[job.id] = job.attempt, max(counted, job.windows_done)

    def finished(self, job: Job) -> None:
        """Count a job that has ended."""
        self.jobs.labels(job.engine, job.status, job.error.code if job.error else "").inc()
        if job.windows_resumed:
            self.jobs_resumed.labels(job.engine).inc()
            self.windows_resumed.labels(job.engine).inc(job.windows_resumed)
        if job.status == "completed" and job.started_at and job.finished_at:
            self.frames.labels(job.engine).inc(job.frames)
            self.job_seconds.labels(job.engine).observe(job.finished_at - job.started_at)
            for stage in get_args(Stage):
                if stage in job.timings_ms:
                    self.stage_seconds.labels(job.engine, stage).observe(job.timings_ms[stage] / 1000)

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

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
