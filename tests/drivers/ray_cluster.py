"""A Ray cluster of several nodes on this machine, each with the CPUs it is given, in processes of its own.

`python -m tests.drivers.ray_cluster` does what it reads, and ends everything when there is no more to read.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.drivers.running import descendants

STORE = 80 << 20  # bytes of the object store of a node; Ray wants 75 MiB at least


class RayCluster:
    """`with RayCluster() as cluster:` has a head without CPUs, and `environ` in the environment of every node.

    Whatever is there for a while is in `temporary`.
    """

    def __init__(self, **environ: str) -> None:
        self._environ = environ
        self._directory = tempfile.TemporaryDirectory(prefix="r-", dir="/tmp")  # socket paths are short
        self.temporary = Path(self._directory.name)
        (self.temporary / "ray").mkdir()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "TMPDIR": str(self.temporary)} | self._environ,
        )
        try:
            self.address = self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._input.close()
        self._process.wait(60)
        self._output.close()
        self._directory.cleanup()

    @property
    def houses(self) -> list[Path]:
        """What actors have on their nodes."""
        return list(self.temporary.glob("echod-far-*/*"))

    def gates(self, job: str, count: int = 1) -> list[Path]:
        """What opens the gates of a job that waits for them on as many nodes, once it does."""
        pause = threading.Event()
        while len(waiting := [house / job for house in self.houses if (house / job / "waiting").exists()]) < count:
            pause.wait(0.02)
        return [each / "gate" for each in waiting]

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin
        return self._process.stdin

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout
        return self._process.stdout

    def add(self, name: str, cpus: int = 1) -> None:
        self._do("add", name, str(cpus))

    def kill(self, name: str) -> None:
        """As a machine dies: without a word."""
        self._do("kill", name)

    def silence(self, name: str) -> None:
        """As where the network parts: it is there, and nobody hears of it."""
        self._do("signal", name, str(int(signal.SIGSTOP)))

    def let_speak(self, name: str) -> None:
        self._do("signal", name, str(int(signal.SIGCONT)))

    def head(self) -> None:
        """A new one where the one that was killed had been."""
        self._do("head", "head")

    def drain(self, name: str) -> None:
        """It takes nothing new, and leaves once nobody works on it."""
        self._do("drain", name)

    def _do(self, *command: str) -> None:
        print(*command, file=self._input, flush=True)
        assert self._answer() == "done"

    def _answer(self) -> str:
        while line := self._output.readline():
            if line.startswith("> "):
                return line[2:].strip()
        raise AssertionError(f"the cluster has ended with {self._process.wait()}")


def nodes(devices: list[dict[str, Any]], state: str = "idle") -> list[str]:
    """Where those in a state work."""
    return sorted(device["node"] for device in devices if device["state"] == state and device["node"])


def main() -> None:
    from ray.cluster_utils import Cluster

    common: dict[str, Any] = {"object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster()
    head = common | {"num_cpus": 0, "node_name": "head", "temp_dir": tempfile.gettempdir()}
    nodes = {"head": cluster.add_node(**head)}
    address = cluster.address
    print("> ", address, sep="", flush=True)
    try:
        for line in sys.stdin:
            what, name, *more = line.split()
            if what == "add":
                nodes[name] = cluster.add_node(num_cpus=int(more[0]), node_name=name, **common)
            elif what == "kill":
                cluster.remove_node(nodes.pop(name), allow_graceful=False)
            elif what == "head":
                nodes[name] = cluster.add_node(gcs_server_port=int(address.rpartition(":")[2]), **head)
            elif what == "signal":
                for pid in _processes(nodes[name]):
                    os.kill(pid, int(more[0]))
            else:
                _drain(address, nodes[name].node_id)
            print("> done", flush=True)
    finally:
        cluster.shutdown()


def _processes(node: Any) -> Iterator[int]:
    for started in itertools.chain.from_iterable(node.all_processes.values()):
        yield started.process.pid
        yield from descendants(started.process.pid)


def _drain(address: str, node_id: str) -> None:
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = GcsClient(address).drain_node(node_id, reason, "a test wants it", 0)
    assert accepted, why


if __name__ == "__main__":
    main()
