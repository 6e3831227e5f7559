"""Traces in OpenTelemetry, where `otlp_endpoint` says so: one of each job and of each turn, made when it has ended.

Nothing of OpenTelemetry is imported otherwise. A job's trace has the job's own number as its id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from echod import __version__
from echod.errors import ConfigurationError
from echod.jobs.job import CONVERSATION, Job
from echod.jobs.steps import Attempt, Steps

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from echod.conversation.turn import Timings

EXPORT_SECONDS = 5.0  # for one request to the collector
# What a turn waits for, by the milestone that ends it.
WAITS = {
    "heard_ms": "hear",
    "reply_first_token_ms": "reply",
    "speak_first_audio_ms": "speak",
    "video_first_frame_ms": "show",
}


class Traces:
    """Sends what is told of it, in a thread of the SDK's own."""

    def __init__(self, provider: TracerProvider, name_next: Callable[[int | None], None]) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("echod", __version__)
        self._name_next = name_next

    def job(self, job: Job, steps: Steps, ended: float) -> None:
        """A job that has ended, and when."""
        said = {
            "echod.job": job.id,
            "echod.account": job.account,
            "echod.engine": job.engine,
            "echod.status": job.status,
            "echod.conversation": job.priority == CONVERSATION,
            "echod.frames": job.frames,
            "echod.windows_resumed": job.windows_resumed,
            "echod.error": job.error.code if job.error else None,
        }
        self._name_next(int(job.id.removeprefix("video_"), 16))
        with self._span("job", job.created_at, ended, said, failed=job.status == "failed"):
            if steps.accepted:
                self._leaf("accept", job.created_at, steps.accepted)
            if steps.spoken and steps.accepted:
                self._leaf("speak", steps.accepted, steps.spoken, {"echod.voice": job.voice})
            for began, over in steps.waits:
                self._leaf("queue", began, over)
            for attempt in steps.attempts:
                self._attempt(attempt, ended)

    def _attempt(self, attempt: Attempt, ended: float) -> None:
        over = attempt.ended or ended
        said = {"echod.attempt": attempt.number, "echod.device": attempt.device, "echod.outcome": attempt.outcome}
        with self._span("attempt", attempt.began, over, said, failed=attempt.outcome != "completed") as span:
            if attempt.playable:
                span.add_event("first_frame", timestamp=_ns(attempt.playable))
            if attempt.worked:
                self._leaf("dispatch", attempt.began, attempt.worked)
            for stage, stretch in attempt.stages.items():
                self._leaf(stage, stretch.began, stretch.ended, {"echod.busy_ms": round(1000 * stretch.busy)})

    def turn(self, outcome: str, timings: Timings, account: str) -> None:
        """A turn that has just ended."""
        ended = time.time()
        began = ended - (timings.total_ms or 0) / 1000
        said = {"echod.account": account, "echod.status": outcome}
        with self._span("turn", began, ended, said, failed=outcome == "failed"):
            since = began
            for milestone, name in WAITS.items():
                if (ms := getattr(timings, milestone)) is not None:
                    self._leaf(name, since, began + ms / 1000)
                    since = began + ms / 1000

    @contextmanager
    def _span(
        self, name: str, began: float, ended: float, said: Mapping[str, Any], *, failed: bool = False
    ) -> Iterator[Any]:
        from opentelemetry.trace import StatusCode, use_span

        told = {key: value for key, value in said.items() if value is not None}
        span = self._tracer.start_span(f"echod.{name}", start_time=_ns(began), attributes=told)
        if failed:
            span.set_status(StatusCode.ERROR)
        with use_span(span, end_on_exit=False):
            yield span
        span.end(_ns(max(began, ended)))

    def _leaf(self, name: str, began: float, ended: float, said: Mapping[str, Any] | None = None) -> None:
        with self._span(name, began, ended, said or {}):
            pass

    def flush(self) -> None:
        """Send what waits; may take seconds."""
        self._provider.force_flush(round(1000 * EXPORT_SECONDS))

    def close(self) -> None:
        """The same, for the last time."""
        self._provider.shutdown()


def open_traces(endpoint: str) -> Traces:
    """`endpoint` is a collector's base URL, for OTLP over HTTP. Raises ConfigurationError without the extra `otel`."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ImportError as error:
        raise ConfigurationError(
            f"otlp_endpoint = {endpoint!r} needs OpenTelemetry ({error}): pip install 'echod[otel]', or leave the "
            "setting empty",
            param="otlp_endpoint",
        ) from None

    class Ids(RandomIdGenerator):
        """The next trace may have an id of its own."""

        next: int | None = None

        def generate_trace_id(self) -> int:
            id, self.next = self.next, None
            return id or super().generate_trace_id()

        def name_next(self, id: int | None) -> None:
            self.next = id

    ids = Ids()
    resource = Resource.create({"service.name": "echod", "service.version": __version__})
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traces(provider, ids.name_next)


def _ns(moment: float) -> int:
    return round(moment * 1e9)
