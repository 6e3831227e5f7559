"""A cluster of two nodes that the daemon follows, while they come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.ray_cluster import RayCluster
from tests.drivers.running import LIGHT, RunningDaemon
from tests.making.media import EXAMPLES
from tests.stand_ins import engine as scripted


def until(daemon: RunningDaemon, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The devices, once they are as they should be."""
    while not wanted(devices := daemon.devices()):
        daemon.notice()
    return devices


def nodes(devices: list[dict[str, Any]], state: str = "idle") -> list[str]:
    return sorted(device["node"] for device in devices if device["state"] == state and device["node"])


def gate(cluster: RayCluster, job: str) -> Path:
    """What opens the gate of a job that waits for it on its node."""
    return gates(cluster, job, 1)[0]


def gates(cluster: RayCluster, job: str, count: int) -> list[Path]:
    """Of a job that waits on as many nodes."""
    pause = threading.Event()
    while len(waiting := [house / job for house in cluster.houses if (house / job / "waiting").exists()]) < count:
        pause.wait(0.02)
    return [each / "gate" for each in waiting]


@pytest.mark.long
def test_nodes_come_and_go(ray: None, tmp_path: Path) -> None:
    """Each node has a device; one that drains ends its job and leaves; one that dies costs its job one attempt."""
    with (
        RayCluster(ECHOD_STATE_DIR=str(tmp_path / "node")) as cluster,
        RunningDaemon(tmp_path, "--devices", "ray/cpu", "--ray-address", cluster.address, command=LIGHT) as daemon,
        daemon.client() as client,
    ):

        def submit() -> str:
            return client.submit(EXAMPLES / "portrait.png", EXAMPLES / "speech.wav", seed=scripted.GATED)["id"]

        assert daemon.devices() == []
        cluster.add("a")
        until(daemon, lambda devices: nodes(devices) == ["a"])
        drained = submit()
        opened = gate(cluster, drained)
        cluster.add("b")
        cluster.drain("a")
        until(daemon, lambda devices: (nodes(devices, "stopping"), nodes(devices)) == (["a"], ["b"]))
        opened.touch()
        until(daemon, lambda devices: nodes(devices) == ["b"] and len(devices) == 1)
        lost = submit()
        gate(cluster, lost)
        cluster.kill("b")
        cluster.add("c")
        until(daemon, lambda devices: nodes(devices, "busy") == ["c"])
        gate(cluster, lost).touch()
        until(daemon, lambda devices: nodes(devices) == ["c"] and len(devices) == 1)
        ended = [client.video(video)["echod"]["attempt"] for video in (drained, lost)]
        assert ended == [1, 2]
