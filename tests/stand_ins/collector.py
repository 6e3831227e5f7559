"""An OpenTelemetry collector on the loopback interface: keeps every span that it is sent, decoded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.stand_ins.loopback import Exchange, LoopbackServer, Request


class Span(NamedTuple):
    """Times in seconds."""

    trace: str
    id: str
    parent: str
    name: str
    began: float
    ended: float
    said: dict[str, Any]
    events: list[str]
    failed: bool


@dataclass
class Collector(LoopbackServer):
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    async def answer(self, request: Request, exchange: Exchange) -> None:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        told = ExportTraceServiceRequest.FromString(request.body)
        for of_service in told.resource_spans:
            self.services.add(_values(of_service.resource.attributes)["service.name"])
            for scope in of_service.scope_spans:
                self.spans += map(_span, scope.spans)
        await exchange.respond(200, {}, {"Content-Type": "application/x-protobuf", "Content-Length": "0"})

    def children(self, of: Span | None, trace: str) -> list[Span]:
        """Of a trace's span, or its roots, in order."""
        parent = of.id if of else ""
        found = [span for span in self.spans if span.trace == trace and span.parent == parent]
        return sorted(found, key=lambda span: (span.began, span.ended))

    def tree(self, trace: str) -> str:
        """A trace as people read it: names, when each began after the first, and how long it took."""
        [root] = self.children(None, trace)
        return "\n".join(self._lines(root, root.began, ""))

    def _lines(self, span: Span, start: float, indent: str) -> Iterable[str]:
        name = f"{indent}{span.name.removeprefix('echod.')}"
        yield f"{name:24}{span.began - start:8.3f} s {span.ended - span.began:8.3f} s"
        for child in self.children(span, span.trace):
            yield from self._lines(child, start, indent + "  ")


def _span(span: Any) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        _values(span.attributes),
        [event.name for event in span.events],
        span.status.code == 2,
    )


def _values(attributes: Iterable[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
