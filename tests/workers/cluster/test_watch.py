"""What the daemon is told of a cluster, which is what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec.structs import replace

from echod.workers.cluster import watch
from echod.workers.cluster.connection import Unfit
from echod.workers.cluster.messages import LENGTH, decode_cluster
from echod.workers.state import Cluster, Node

KNOWN = Cluster(address="auto", version="9", nodes=[Node(name="a", gpus=8)])


class Joining:
    """A cluster that is joined, or not, when the test says so."""

    doing = "waiting for the Ray cluster at auto"

    def __init__(self) -> None:
        self.joined = asyncio.Event()
        self.unfit: str | None = None

    async def connected(self) -> None:
        await self.joined.wait()
        if self.unfit:
            raise Unfit(self.unfit)


@contextlib.asynccontextmanager
async def watched(cluster: Joining) -> AsyncIterator[tuple[Callable[[], Awaitable[Cluster]], asyncio.Task[bool]]]:
    """What is told next, and the watch."""
    ours, theirs = socket.socketpair()
    reader, mine = await asyncio.open_connection(sock=ours)
    _, writer = await asyncio.open_connection(sock=theirs)
    watching = asyncio.create_task(watch.watch(cluster, "auto", writer))  # type: ignore[arg-type]

    async def next_told() -> Cluster:
        size = int.from_bytes(await reader.readexactly(LENGTH), "big")
        return decode_cluster(await reader.readexactly(size))

    yield next_told, watching
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    for each in (mine, writer):
        each.close()
        await each.wait_closed()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "INTERVAL", 0.001)


async def test_only_what_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it is waited for, its nodes once it is joined, and each change of them."""
    nodes, looked, loop = [KNOWN], asyncio.Event(), asyncio.get_running_loop()

    def look(address: str) -> Cluster:
        loop.call_soon_threadsafe(looked.set)
        return nodes[-1]

    monkeypatch.setattr(watch, "_known", look)
    cluster = Joining()
    async with watched(cluster) as (told, _):
        assert await told() == Cluster(address="auto", problem="waiting for the Ray cluster at auto")
        cluster.joined.set()
        assert await told() == KNOWN
        looked.clear()
        await looked.wait()
        nodes.append(replace(KNOWN, nodes=[]))
        assert await told() == nodes[-1]


@pytest.mark.parametrize("patience", [3600.0, 0.0])
async def test_a_cluster_that_is_lost(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """What it was is kept beside the problem for a while; then the watch ends, for a process that joins anew."""
    monkeypatch.setattr(watch, "LOST", patience)
    states: list[Cluster | Exception] = [KNOWN]

    def look(address: str) -> Cluster:
        if isinstance(state := states[-1], Exception):
            raise state
        return state

    monkeypatch.setattr(watch, "_known", look)
    cluster = Joining()
    cluster.joined.set()
    async with watched(cluster) as (told, watching):
        while (await told()) != KNOWN:
            pass
        states.append(ConnectionError("nobody there"))
        if patience:
            assert await told() == replace(KNOWN, problem="the Ray cluster at auto cannot be asked: nobody there")
            states.append(KNOWN)
            assert await told() == KNOWN
        else:
            assert await watching


async def test_a_cluster_that_cannot_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is told, and the process stays: another would not do better."""
    monkeypatch.setattr(watch, "LOST", 0.0)
    cluster = Joining()
    cluster.unfit = "versions differ"
    cluster.joined.set()
    async with watched(cluster) as (told, watching):
        while (await told()).problem != "versions differ":
            pass
        assert not watching.done()


@pytest.mark.parametrize(("called", "name"), [("box-7", "box-7"), ("10.0.0.2", "host"), ("", "host")])
def test_names_of_nodes(called: str, name: str) -> None:
    """Whatever somebody called a node, else its machine's name; and what it has."""
    row = {
        "NodeID": "ab", "NodeName": called, "NodeManagerAddress": "10.0.0.2", "NodeManagerHostname": "host",
        "Resources": {"CPU": 64.0, "GPU": 8.0},
    }  # fmt: skip
    assert watch.node_of(row, set()) == Node(name=name, cpus=64, gpus=8)
    assert watch.node_of(row, {"ab"}).state == "draining"
