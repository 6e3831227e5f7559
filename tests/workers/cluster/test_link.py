"""The process beside the daemon that speaks Ray, and the daemon's connection to it, while no cluster answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from echod import gpu_proc
from echod.workers import messages
from echod.workers.cluster.far import Far, Link
from echod.workers.spec import Spec
from echod.workers.state import Ending
from tests.drivers.running import alive

TIMEOUT = 60.0


class Daemon:
    """As much of one as a link needs."""

    def __init__(self, directory: Path, address: str) -> None:
        self.spec = Spec(
            engines=("preview",), weights="", directory=str(directory), reports=f"{directory}/reports",
            inbox=f"{directory}/inbox", parent=os.getpid(), threads=1, ray_address=address, device="ray/cpu",
            digests=f"{directory}/cache/weights.json",
        )  # fmt: skip
        self.link = Link(self.spec, gpu_proc.main, cpus=1)
        self.context = zmq.asyncio.Context()
        self.reports = self.context.socket(zmq.PULL)
        self.reports.bind(f"ipc://{directory}/reports")

    def start(self) -> Far:
        return self.link.start(replace(self.spec, epoch=1), "ray/cpu")

    async def doing(self) -> str:
        report = messages.decode_envelope(await asyncio.wait_for(self.reports.recv(), TIMEOUT)).report
        assert isinstance(report, messages.Alive)
        return report.doing

    async def dead(self, far: Far) -> Ending:
        """How it ended, once the loop hears of that."""
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(far.fd, readable.set)
        await asyncio.wait_for(readable.wait(), TIMEOUT)
        asyncio.get_running_loop().remove_reader(far.fd)
        return far.bury()


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    with tempfile.TemporaryDirectory() as directory, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and listens not
        made = Daemon(Path(directory), f"127.0.0.1:{nobody.getsockname()[1]}")
        yield made
        made.link.close()
        made.reports.close(linger=0)
        made.context.term()


async def test_a_cluster_that_does_not_answer(daemon: Daemon) -> None:
    """Is waited for, with signs of life; whoever is ended meanwhile is dead at once, and the others wait on."""
    first, second = daemon.start(), daemon.start()
    assert "waiting for the Ray cluster at 127.0.0.1" in [await daemon.doing() for _ in range(4)][-1]
    first.kill(signal.SIGKILL)
    assert (await daemon.dead(first)).words == "killed by SIGKILL"
    assert "waiting for the Ray cluster" in await daemon.doing()
    second.abandon()


async def test_a_link_that_is_killed(daemon: Daemon) -> None:
    """All that it spoke for are dead with it; the next to be started has a new one."""
    far, before = daemon.start(), daemon.link.pid
    assert before is not None
    await daemon.doing()
    os.kill(before, signal.SIGKILL)
    assert await daemon.dead(far) == Ending("lost", "lost with the link to the cluster")
    far = daemon.start()
    await daemon.doing()
    assert daemon.link.pid not in (None, before)
    daemon.link.close()
    assert not alive(before)
    assert await daemon.dead(far) == Ending("lost", "lost with the link to the cluster")


@pytest.mark.long
def test_a_node_without_echod(ray: None) -> None:
    """The actor's class travels as a value: it can say of a node that there is no echod, which it could not import."""
    there = subprocess.run([sys.executable, "-I", "-c", THERE], input=_carried(), capture_output=True, timeout=60)
    assert there.returncode == 0, there.stderr.decode()
    assert json.loads(there.stdout)["version"] is None


def _carried() -> bytes:
    here = [sys.executable, "-W", "ignore", "-c", HERE]
    return subprocess.run(here, capture_output=True, check=True, timeout=60).stdout


HERE = """
import sys
from ray import cloudpickle
from echod.workers.cluster import carrier
cloudpickle.register_pickle_by_value(carrier)
sys.stdout.buffer.write(cloudpickle.dumps(carrier.Carrier))
"""
THERE = """
import asyncio, pickle, sys
sys.modules["echod"] = None
carrier = pickle.loads(sys.stdin.buffer.read())
sys.stdout.buffer.write(asyncio.run(carrier().about()))
"""
