"""Nodes, actors, children and the daemon die while jobs run here and on a Ray cluster."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echod.host import cluster as ray
from echod.inference.echomimic.tiny import init_tiny
from tests.drivers.ordeal import TERMINAL, Ordeal, kill_process
from tests.drivers.ray_cluster import RayCluster
from tests.drivers.running import RunningDaemon, alive
from tests.making.media import write_wav
from tests.making.playback import digest

KILLS = ["child", "actor", "node", "daemon"] * int(os.environ.get("ECHOD_CHAOS_ROUNDS", 2))
JOBS = 5  # for each


DEVICES = 3
SLOW, QUICK = {"model": "echomimic", "steps": 2, "lossless": True}, {"model": "preview", "lossless": True}


def kill_parent(device: dict[str, Any]) -> None:
    """The actor, with whom its child dies."""
    (parent,) = [line for line in Path(f"/proc/{device['pid']}/status").read_text().splitlines() if "PPid" in line]
    os.kill(int(parent.split()[1]), signal.SIGKILL)


class FarOrdeal(Ordeal):
    """No job is killed twice, so that all are completed."""

    def __init__(self, cluster: RayCluster, *rest: Any) -> None:
        super().__init__(*rest)
        self.cluster = cluster
        self.nodes = 0
        self.lost: list[int] = []  # pids

    def go_on(self) -> None:
        """So that a node that has just come back has something to do."""
        if len(self.accepted) - self.ended() < DEVICES:
            self.submit(1, **SLOW)

    def until_ready(self) -> None:
        self.daemon.until_devices(lambda devices: all(device["state"] in ("idle", "busy") for device in devices))

    def add_node(self) -> None:
        self.nodes += 1
        self.cluster.add(f"node-{self.nodes}")

    def kill_node(self, device: dict[str, Any]) -> None:
        self.cluster.kill(device["node"])
        self.add_node()

    def kill(self, what: str) -> None:
        if what == "daemon":
            self.kill_daemon()
            return
        ways: dict[str, Callable[[dict[str, Any]], None]] = {
            "child": kill_process, "actor": kill_parent, "node": self.kill_node,
        }  # fmt: skip

        def kill(device: dict[str, Any]) -> None:
            self.lost.append(device["pid"])
            ways[what](device)

        self.hit(lambda device: device["state"] == "busy" and device["node"] and not self.hits[device["job"]], kill)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_cluster_that_dies_piece_by_piece(tmp_path: Path) -> None:
    """EchoMimic and previews on one device here and two nodes. Every job is completed, and ends once, with the frames
    of every other of its engine wherever it was made; nothing is left on the nodes.
    """
    if not ray.is_installed():
        pytest.skip("Ray is not installed")
    seed = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))
    print(f"ECHOD_CHAOS_SEED={seed} ECHOD_CHAOS_ROUNDS={len(KILLS) // 4}")
    dice = random.Random(seed)
    kills = dice.sample(KILLS, len(KILLS))
    weights, speech = tmp_path / "weights", write_wav(tmp_path / "speech.wav", seconds=0.5)
    init_tiny(weights)
    there = {"ECHOD_WEIGHTS": str(weights), "ECHOD_STATE_DIR": str(tmp_path / "node")}
    flags = ("--devices", "cpu,ray:2/cpu", "--engine", "echomimic", "--weights", str(weights), "--log-json")
    with (
        RayCluster(**there) as cluster,
        RunningDaemon(tmp_path, *flags, "--ray-address", cluster.address) as daemon,
    ):
        ordeal = FarOrdeal(cluster, daemon, speech, dice)
        for _ in range(2):
            ordeal.add_node()
        daemon.until_idle()
        for kill in kills:
            ordeal.until_ready()
            ended = ordeal.ended()
            ordeal.submit(DEVICES, **SLOW)
            ordeal.submit(JOBS - DEVICES, **QUICK)
            ordeal.until_ended(ended + dice.randrange(2))
            ordeal.kill(kill)
        ordeal.until_ended(len(ordeal.accepted))
        daemon.until_idle()
        ordeal.submit(DEVICES, **SLOW)  # one for each, undisturbed
        ordeal.until_ended(len(ordeal.accepted))
        videos = ordeal.videos()
        daemon.until_idle()
        daemon.stop()
        daemon.start()  # what a killed actor has left goes when the next one starts on its node
        daemon.until_idle()
        daemon.stop()
        log = daemon.log.read_text()
        assert cluster.houses == []
        assert [pid for pid in ordeal.lost if alive(pid)] == []
    assert sorted(videos) == sorted(ordeal.accepted)
    assert {id: video["error"] for id, video in videos.items() if video["status"] != "completed"} == {}
    clips = {
        engine: {digest(tmp_path / "state/jobs" / id / "clip.mp4") for id in videos if videos[id]["model"] == engine}
        for engine in ("echomimic", "preview")
    }
    assert {engine: len(made) for engine, made in clips.items()} == {"echomimic": 1, "preview": 1}
    told = [line for line in map(json.loads, log.splitlines()) if line["message"].split(" ")[0] in TERMINAL]
    assert Counter(Counter(line["job"] for line in told if "job" in line).values()) == {1: len(videos)}
    made = Counter(video["echod"]["device"] for video in videos.values())
    assert len(made) == DEVICES
    attempts = sum(video["echod"]["attempt"] for video in videos.values())
    print(f"jobs={len(videos)} kills={dict(Counter(kills))} {attempts=} devices={dict(made)}")
