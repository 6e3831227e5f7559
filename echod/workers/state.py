"""What a device is doing, as /readyz, /metrics and `echod devices` show it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

import msgspec

WorkerState: TypeAlias = Literal["starting", "idle", "busy", "failed", "stopping"]
DeathReason: TypeAlias = Literal["stalled", "not_ready", "not_started", "killed", "exited", "lost"]
NodeState: TypeAlias = Literal["alive", "draining"]
READY = ("idle", "busy")


class Ending(msgspec.Struct, frozen=True):
    """How an incarnation of a worker ended, in words too."""

    reason: DeathReason
    words: Annotated[str, msgspec.Meta(max_length=2000)]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine of the Ray cluster, under a name that no other has. One that drains takes nothing new, and leaves."""

    name: str
    state: NodeState = "alive"
    cpus: int = 0
    gpus: int = 0


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon knows of it. While there is a `problem`, a sentence, the rest is as it was."""

    address: str
    version: str | None = None  # of Ray there
    problem: str | None = None
    nodes: list[Node] = []

    def devices(self, device: str) -> int:
        """How many of a kind it has: GPUs for `ray`, for `ray/cpu` nodes with CPUs, which heads often have none of."""
        return sum(node.gpus if device == "ray" else node.cpus > 0 for node in self.nodes if node.state == "alive")


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """One worker and its device. `loads` counts how often engines were loaded since the daemon started."""

    worker: int
    device: str
    state: WorkerState
    epoch: int
    pid: int | None
    job: str | None
    suspended: str | None
    helping: str | None  # a job that another worker runs
    helped: int  # window calls and batches of frames of others' jobs, since the daemon started
    helps: list[str]  # devices with the same numbers: it can help them, and they it
    shares: list[str]  # who else holds memory of its card: other workers, and the speech models if they may
    numbers: dict[str, str]  # by engine: what the last bits of its clips depend on; none where no clip is shared
    computed: dict[str, dict[str, str]]  # by engine: the device by name, the dtype where there is one
    engines: list[str]
    exact: dict[str, bool]  # by engine: whether its frames are its model's own, and no sketch or approximation
    restarts: int
    loads: int
    reason: str | None
    cuda_visible_devices: str | None
    torch_imported_at_hello: bool | None
    kernels: str | None = None  # what came of compiling them; None where none were to be
    node: str | None = None  # of the cluster, where it is on one; `pid` is then that node's
    doing: str | None = None  # what it is at while it starts
    deaths: dict[DeathReason, int] = {}  # since the daemon started
    memory: dict[str, int] = {}  # bytes of its card, as messages.Memory has them; none of a CPU


def exactness(engine: str, devices: Iterable[DeviceState]) -> bool | None:
    """Whether an engine's frames are its model's own; None before a worker has loaded it."""
    return next((device.exact[engine] for device in devices if engine in device.exact), None)
