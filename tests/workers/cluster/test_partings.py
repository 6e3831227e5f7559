"""A cluster whose parts cannot be reached for a while: a node, the head."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.client.client import Client
from tests.drivers.ray_cluster import RayCluster, nodes
from tests.drivers.running import LIGHT, RunningDaemon, gone
from tests.making.media import EXAMPLES
from tests.stand_ins import engine as scripted

pytestmark = pytest.mark.long
SHORT = 5.0  # seconds without a word that nobody minds


@pytest.fixture
def cluster(ray: None, tmp_path: Path) -> Iterator[RayCluster]:
    with RayCluster(ECHOD_STATE_DIR=str(tmp_path / "node")) as cluster:
        cluster.add("a")
        yield cluster


@pytest.fixture
def daemon(cluster: RayCluster, tmp_path: Path) -> Iterator[RunningDaemon]:
    flags = ("--devices", "ray/cpu", "--ray-address", cluster.address)
    with RunningDaemon(tmp_path, *flags, command=LIGHT) as daemon:
        daemon.until_devices(lambda devices: nodes(devices) == ["a"])
        yield daemon


def submit(client: Client) -> str:
    return str(client.submit(EXAMPLES / "portrait.png", EXAMPLES / "speech.wav", seed=scripted.GATED)["id"])


def ended(client: Client, video: str) -> tuple[str, int]:
    found = client.video(video)
    return found["status"], found["echod"]["attempt"]


def test_a_short_silence(cluster: RayCluster, daemon: RunningDaemon) -> None:
    """A node that is heard again soon goes on with its job."""
    with daemon.client() as client:
        video = submit(client)
        opened = cluster.gates(video)[0]
        cluster.silence("a")
        threading.Event().wait(SHORT)
        cluster.let_speak("a")
        opened.touch()
        daemon.until_devices(lambda devices: nodes(devices) == ["a"])
        assert ended(client, video) == ("completed", 1)
        assert [device["deaths"] for device in daemon.devices()] == [{}]


def test_a_long_silence(cluster: RayCluster, daemon: RunningDaemon) -> None:
    """A node that is silent for long is lost, with one attempt; heard again, it changes nothing."""
    with daemon.client() as client:
        video = submit(client)
        cluster.gates(video)
        (lost,) = daemon.devices()
        cluster.silence("a")
        cluster.add("b")
        daemon.until_devices(lambda devices: nodes(devices, "busy") == ["b"])
        opened = cluster.gates(video, 2)
        cluster.let_speak("a")
        for each in opened:
            each.touch()
        daemon.until_devices(lambda devices: nodes(devices) == ["b"])
        assert ended(client, video) == ("completed", 2)
        gone([lost["pid"]], 60)


def test_the_head_comes_back(cluster: RayCluster, daemon: RunningDaemon) -> None:
    """Without a head its devices are lost, with their jobs' attempts; a new head has new ones, which make the jobs."""
    with daemon.client() as client:
        video = submit(client)
        cluster.gates(video)
        cluster.kill("head")
        daemon.until_devices(lambda devices: not nodes(devices, "busy"))
        assert client.readiness()["cluster"]["problem"]
        cluster.kill("a")
        cluster.head()
        cluster.add("b")
        daemon.until_devices(lambda devices: nodes(devices, "busy") == ["b"])
        cluster.gates(video)[0].touch()
        daemon.until_devices(lambda devices: nodes(devices) == ["b"])
        assert ended(client, video) == ("completed", 2)
        assert client.readiness()["cluster"]["problem"] is None
