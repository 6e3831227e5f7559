"""A fleet that follows a cluster, which is what the test says; its devices are scripted workers of this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from echod.errors import EchodError
from echod.jobs.job import CONVERSATION
from echod.workers.fleet import Fleet
from echod.workers.messages import Hello
from echod.workers.seat import Seat
from echod.workers.state import Cluster, Node
from echod.workers.worker import Worker
from tests.drivers.bench import Bench, bench
from tests.stand_ins import engine as scripted

FOLLOWING = ("cpu",)  # one a node


def cluster(*nodes: str, draining: str = "", problem: str | None = None) -> Cluster:
    named = [Node(name=name, cpus=1, state="draining" if name in draining else "alive") for name in nodes]
    return Cluster(address="auto", version="2.60.0", problem=problem, nodes=named)


def gone(fleet: Fleet, *nodes: str) -> list[int]:
    return [worker.index for worker in fleet.roster.to_leave(cluster(*nodes))]


async def ready(work: Bench, count: int) -> list[str]:
    devices = await work.devices(
        lambda devices: len(devices) == count and all(device.state == "idle" for device in devices)
    )
    return [device.device for device in devices]


async def test_as_many_as_the_cluster_has(tmp_path: Path) -> None:
    """Devices that join work; one that is to go ends its job first; names are given again, indices are not."""
    async with bench(tmp_path, devices=0, following=FOLLOWING) as work:
        assert work.fleet.refusal() is None  # nothing is known yet
        work.fleet.follow(cluster("a", "b"))
        assert await ready(work, 2) == ["cpu", "cpu#2"]
        jobs = [await work.accept(scripted.GATED) for _ in range(2)]
        for job in jobs:
            await work.file(job, "waiting")
        work.fleet.follow(cluster("a"))
        staying, going = work.fleet.devices()
        assert (staying.state, going.state, going.job) == ("busy", "stopping", work.fleet.workers[1].seat.running.id)  # type: ignore[union-attr]
        later = await work.accept()
        for job in sorted(jobs, key=lambda job: job.id != going.job):
            work.open_gate(job)
            assert (await work.ended(job)).attempt == 1
        assert (await work.ended(later)).device == staying.device
        assert await ready(work, 1) == ["cpu"]
        work.fleet.follow(cluster("a", "c"))
        assert await ready(work, 2) == ["cpu", "cpu#2"]
        assert [device.worker for device in work.fleet.devices()] == [0, 2]
        assert (await work.ended(await work.accept())).status == "completed"


async def test_one_that_waits_for_its_return_leaves_at_once(tmp_path: Path) -> None:
    """A worker that died with its node, which is gone, is not started again."""
    async with bench(tmp_path, devices=0, following=FOLLOWING) as work:
        work.fleet.follow(cluster("a"))
        await ready(work, 1)
        (worker,) = work.fleet.workers
        worker.backoff_unit = 3600.0
        worker.kill()
        await work.devices(lambda devices: devices[0].pid is None)
        work.fleet.follow(cluster())
        assert work.fleet.devices() == []
        work.fleet.follow(cluster("b"))
        await ready(work, 1)


async def test_a_draining_node(tmp_path: Path) -> None:
    """A device that was asked for by number ends its job and begins anew elsewhere, which counts as no death."""
    async with bench(tmp_path) as work:
        await ready(work, 1)
        (worker,) = work.fleet.workers
        worker.hello = Hello(cuda_visible_devices="", torch_imported=False, node="a")
        job = await work.accept(scripted.GATED)
        await work.file(job, "waiting")
        for _ in range(2):
            work.fleet.follow(cluster("a", "b", draining="a"))
        assert [(device.state, device.node, device.job) for device in work.fleet.devices()] == [
            ("stopping", "a", job.id)
        ]
        work.open_gate(job)
        assert (await work.ended(job)).attempt == 1
        (device,) = await work.devices(lambda devices: (devices[0].state, devices[0].epoch) == ("idle", 2))
        assert (device.node, device.reason, worker.deaths_since_ready) == (None, None, 0)


async def test_the_end_while_one_is_leaving(tmp_path: Path) -> None:
    """A daemon that is stopped meanwhile waits for the job of whoever is leaving too."""
    async with bench(tmp_path, devices=0, following=FOLLOWING) as work:
        work.fleet.follow(cluster("a"))
        await ready(work, 1)
        job = await work.accept(scripted.GATED)
        await work.file(job, "waiting")
        work.fleet.follow(cluster())
        draining = asyncio.create_task(work.fleet.drain(60.0, asyncio.Event()))
        await asyncio.sleep(0)
        work.open_gate(job)
        await draining
        assert (await work.desk.find(job.id, None)).status == "completed"
        work.fleet.follow(cluster("b"))
        assert [device.state for device in work.fleet.devices()] == ["stopping"]


async def test_who_goes_first(tmp_path: Path) -> None:
    """Whose node is gone, then who does not work, then the youngest; never more than are too many."""
    async with bench(tmp_path, devices=0, following=FOLLOWING) as work:
        fleet = Fleet(work.desk.settings, work.desk, ("cpu",) * 4, following=FOLLOWING)
        for worker, node in zip(fleet.workers, "abcd", strict=True):
            worker.hello = Hello(cuda_visible_devices="", torch_imported=False, node=node)
            worker.seat = Seat(ready=True)
        assert gone(fleet, "a", "b", "c", "d", "e") == []
        assert gone(fleet, "b", "c", "d") == [0]
        assert gone(fleet, "a", "c") == [3, 1]
        fleet.workers[2].over = "failed"
        assert gone(fleet, "a", "b", "c") == [3]
        assert gone(fleet, "a", "b") == [2, 3]
        fleet.workers[3].hello = None
        assert gone(fleet, "a", "b", "c") == [2]


async def test_a_conversation_stays_here(tmp_path: Path) -> None:
    """Its jobs go to a device of this machine where one is idle, others to whoever is idle the longest."""
    async with bench(tmp_path, devices=2) as work:
        await work.ready()
        far, near = sorted(work.fleet.workers, key=lambda worker: worker.idle_since)
        far.device = "ray/cpu"
        for _ in range(2):
            assert (await work.ended(await work.accept(priority=CONVERSATION))).device == near.name
        assert (await work.ended(await work.accept())).device == far.name
        batch = await work.accept(scripted.GATED)
        await work.file(batch, "waiting")
        assert (await work.desk.find(batch.id, None)).device == near.name
        assert (await work.ended(await work.accept(priority=CONVERSATION))).device == far.name
        work.open_gate(batch)
        await work.ended(batch)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (cluster(), "the Ray cluster at auto has 0 nodes and none of ray"),
        (cluster("a", problem="the cluster sleeps"), "the cluster sleeps"),
        (cluster("a"), "the Ray cluster at auto has 1 nodes and none of ray"),
    ],
)
async def test_nobody_works(tmp_path: Path, known: Cluster, words: str) -> None:
    """What is missing is said, with the address; a cluster that cannot be reached takes nobody's work away."""
    async with bench(tmp_path, devices=0, following=("ray",)) as work:
        work.fleet.follow(known)
        with pytest.raises(EchodError, match=f"no device works: {words}") as refused:
            await work.accept()
        assert refused.value.code == "no_device"
        worker: Worker = work.fleet.roster.hire("ray")
        work.fleet.follow(cluster(problem="does not answer"))
        assert work.fleet.refusal() is None and not worker.leaves
        work.fleet.workers.clear()


def test_gpus_and_nodes() -> None:
    """`ray` is every GPU of nodes that stay, `ray/cpu` one device a node."""
    nodes = [Node(name="a", gpus=8), Node(name="b", gpus=2, state="draining"), Node(name="c", cpus=4)]
    known = Cluster(address="local", nodes=nodes)
    assert (known.devices("ray"), known.devices("ray/cpu")) == (8, 1)
