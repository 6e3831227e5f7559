"""Who is in the fleet: whoever was named at the start, and whoever follows a cluster that grows and shrinks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from echod.errors import EchodError
from echod.workers.devices import names, numbered, sharing
from echod.workers.state import Cluster
from echod.workers.worker import Worker

Make: TypeAlias = Callable[[int, str, str], Worker]  # of an index, a device and a name
STATES = ("failed", "starting", "idle", "busy")


class Roster:
    """Of each device in `following` there are as many workers as the cluster has; of others those that were named."""

    def __init__(self, devices: Sequence[str], following: Sequence[str], make: Make, speech_device: str) -> None:
        self._make = make
        self.following = following
        self.workers: list[Worker] = []
        self._ever: list[Worker] = []
        for device in devices:
            self.hire(device)
        self._shares = dict(zip(names(devices), sharing(devices, speech_device), strict=True))

    def hire(self, device: str) -> Worker:
        """A worker with an index that none has had, and a name that none has now."""
        taken = {worker.name for worker in self.workers}
        name = next(name for count in itertools.count(1) if (name := numbered(device, count)) not in taken)
        worker = self._make(len(self._ever), device, name)
        self._ever.append(worker)
        self.workers.append(worker)
        return worker

    def __getitem__(self, index: int) -> Worker:
        """Also one that has left. Raises IndexError."""
        return self._ever[index]

    def follows(self, worker: Worker) -> bool:
        return worker.device in self.following

    def shares(self, worker: Worker) -> list[str]:
        """Who else holds memory of its card."""
        return self._shares.get(worker.name, [])

    def to_leave(self, cluster: Cluster) -> list[Worker]:
        """Who is on a node that is draining; and of what follows the cluster those beyond what that has."""
        alive = {node.name for node in cluster.nodes if node.state == "alive"}
        draining = {node.name for node in cluster.nodes} - alive  # a name that two share tells nothing
        going = [worker for worker in self._staying() if worker.node in draining]
        for device in self.following:
            rest = [worker for worker in self._staying() if worker.device == device and worker not in going]
            nodes = {node.name for node in cluster.nodes}
            going += sorted(rest, key=lambda each: _missed(each, nodes))[: max(0, len(rest) - cluster.devices(device))]
        return going

    def to_hire(self, cluster: Cluster) -> Iterator[str]:
        for device in self.following:
            here = sum(worker.device == device for worker in self._staying())
            yield from (device,) * (cluster.devices(device) - here)

    def _staying(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.leaves]

    def refusal(self, cluster: Cluster | None) -> EchodError | None:
        """Why nobody will work, if so."""
        if any(worker.state != "failed" for worker in self.workers):
            return None
        if reasons := "; ".join(f"{worker.name}: {worker.reason}" for worker in self.workers):
            return EchodError("no_device", f"no device works ({reasons}); repair it, then `systemctl reload echod`")
        if cluster is None:  # nothing is known of it yet
            return None
        nothing = f"the Ray cluster at {cluster.address} has {len(cluster.nodes)} nodes and none of "
        return EchodError("no_device", f"no device works: {cluster.problem or nothing + ', '.join(self.following)}")


def _missed(worker: Worker, nodes: set[str]) -> tuple[bool, bool, int, int]:
    """Who is missed least comes first: whose node is gone, what does not work, and the youngest."""
    lost = worker.node is not None and worker.node not in nodes
    return not lost, worker.alive, STATES.index(worker.state), -worker.index
