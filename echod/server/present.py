"""How things stand at this moment, for /metrics: taken when somebody asks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from echod import __version__
from echod.host.process import resident
from echod.jobs.desk import Desk
from echod.workers.state import Cluster, DeathReason, DeviceState, NodeState, WorkerState


class Present(NamedTuple):
    """Sizes in bytes. `stored` is what uploads, jobs and clips take, `disk` the file system that they lie on."""

    queued: int
    queue_limit: int
    watchers: int
    devices: Sequence[DeviceState]
    stored: int
    clips_cap: int
    disk_free: int
    disk_total: int
    min_free: int
    cluster: Cluster | None = None

    @classmethod
    def of(cls, desk: Desk, devices: Sequence[DeviceState], cluster: Cluster | None = None) -> Self:
        disk, settings = shutil.disk_usage(desk.root), desk.settings.now
        return cls(
            queued=len(desk.queue),
            queue_limit=settings.queue_limit,
            watchers=len(desk.feed.watchers),
            devices=devices,
            stored=desk.quota.total,
            clips_cap=settings.clips_cap,
            disk_free=disk.free,
            disk_total=disk.total,
            min_free=settings.min_free,
            cluster=cluster,
        )


class PresentCollector(Collector):
    """Shows it to Prometheus."""

    def __init__(self, look: Callable[[], Present]) -> None:
        self._look = look

    def describe(self) -> list[Metric]:
        return []  # nobody is to look before there is a daemon

    def collect(self) -> Iterator[Metric]:
        now = self._look()
        yield InfoMetricFamily("echod_build", "The running version", {"version": __version__})
        for name, about, value in (
            ("queue_jobs", "Jobs that wait for a worker", now.queued),
            ("queue_limit", "How many may wait", now.queue_limit),
            ("event_watchers", "Readers of events and streams, the metrics among them", now.watchers),
            ("stored_bytes", "What uploads, jobs and clips take", now.stored),
            ("clips_cap_bytes", "What all clips may take", now.clips_cap),
            ("disk_free_bytes", "Free space where they lie", now.disk_free),
            ("disk_size_bytes", "All space there", now.disk_total),
            ("disk_min_free_bytes", "With less free space nothing is accepted", now.min_free),
        ):
            yield GaugeMetricFamily(f"echod_{name}", about, value)
        yield from _workers(now.devices)
        if now.cluster:
            yield from _cluster(now.cluster, now.devices)


def _workers(devices: Sequence[DeviceState]) -> Iterator[Metric]:
    which = ["worker", "device"]
    states = GaugeMetricFamily("echod_worker_state", "1 for the state a worker is in", labels=[*which, "state"])
    restarts = CounterMetricFamily("echod_worker_restarts", "Deaths of a worker", labels=[*which, "reason"])
    about = "Windows and batches of frames computed for jobs of others"
    helped = CounterMetricFamily("echod_helped_calls", about, labels=which)
    resident_bytes = GaugeMetricFamily("echod_worker_resident_bytes", "Memory of a worker's process", labels=which)
    memory = GaugeMetricFamily("echod_device_memory_bytes", "Memory of a card", labels=[*which, "kind"])
    for row in devices:
        labels = [str(row.worker), row.device]
        for state in get_args(WorkerState):
            states.add_metric([*labels, state], float(state == row.state))
        for reason in get_args(DeathReason):
            restarts.add_metric([*labels, reason], row.deaths.get(reason, 0))
        helped.add_metric(labels, row.helped)
        if row.pid is not None and row.node is None and (size := resident(row.pid)) is not None:
            resident_bytes.add_metric(labels, size)
        for kind, size in row.memory.items():
            memory.add_metric([*labels, kind], size)
    yield from (states, restarts, helped, resident_bytes, memory)


def _cluster(cluster: Cluster, devices: Sequence[DeviceState]) -> Iterator[Metric]:
    yield GaugeMetricFamily("echod_cluster_up", "Whether the Ray cluster can be reached", not cluster.problem)
    nodes = GaugeMetricFamily("echod_cluster_nodes", "Its nodes, when they were last heard of", labels=["state"])
    for state in get_args(NodeState):
        nodes.add_metric([state], sum(node.state == state for node in cluster.nodes))
    places = GaugeMetricFamily(
        "echod_worker_node", "1 for the node that a worker is on", labels=["worker", "device", "node"]
    )
    for row in devices:
        if row.node:
            places.add_metric([str(row.worker), row.device, row.node], 1.0)
    yield from (nodes, places)
