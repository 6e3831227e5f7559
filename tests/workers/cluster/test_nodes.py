"""A cluster of two nodes that the daemon follows, while they come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drivers.ray_cluster import RayCluster, nodes
from tests.drivers.running import LIGHT, RunningDaemon
from tests.making.media import EXAMPLES
from tests.stand_ins import engine as scripted


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
        daemon.until_devices(lambda devices: nodes(devices) == ["a"])
        drained = submit()
        opened = cluster.gates(drained)[0]
        cluster.add("b")
        cluster.drain("a")
        daemon.until_devices(lambda devices: (nodes(devices, "stopping"), nodes(devices)) == (["a"], ["b"]))
        opened.touch()
        daemon.until_devices(lambda devices: nodes(devices) == ["b"] and len(devices) == 1)
        lost = submit()
        cluster.gates(lost)
        cluster.kill("b")
        cluster.add("c")
        daemon.until_devices(lambda devices: nodes(devices, "busy") == ["c"])
        cluster.gates(lost)[0].touch()
        daemon.until_devices(lambda devices: nodes(devices) == ["c"] and len(devices) == 1)
        ended = [client.video(video)["echod"]["attempt"] for video in (drained, lost)]
        assert ended == [1, 2]
