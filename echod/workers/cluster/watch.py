"""What the link tells of the cluster: its nodes as they come and go, and why it cannot be reached.

A connection to the link that begins with an empty Birth is told, whenever that changes. A cluster that was joined and
then lost cannot be joined again by the same process, so the link ends, and the next one waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from msgspec.structs import replace

from echod.workers.cluster.carrier import name_of
from echod.workers.cluster.connection import RayConnection, Unfit, in_short
from echod.workers.cluster.messages import LENGTH, encode
from echod.workers.state import Cluster, Node

log = logging.getLogger("echod.cluster")

INTERVAL = 2.0  # seconds between two looks
ANSWER = 10.0  # seconds that the cluster may take over one
LOST = 30.0  # seconds without any


async def watch(connection: RayConnection, address: str, writer: asyncio.StreamWriter) -> bool:
    """Until whoever reads is gone, or the cluster is lost: then True."""
    joining = asyncio.ensure_future(connection.connected())
    known, told = Cluster(address=address), None
    answered = asyncio.get_running_loop().time()
    while not writer.is_closing():
        if not joining.done():
            known = replace(known, problem=connection.doing)
        else:
            known = await _look(joining, known)
            now = asyncio.get_running_loop().time()
            answered = now if known.problem is None or isinstance(joining.exception(), Unfit) else answered
            if now - answered > LOST:
                log.error("the link ends: %s", known.problem)
                return True
        if known != told:
            data, told = encode(known), known
            writer.write(len(data).to_bytes(LENGTH, "big") + data)
            await writer.drain()
        await asyncio.sleep(INTERVAL)
    return False


async def _look(joining: asyncio.Future[None], known: Cluster) -> Cluster:
    try:
        joining.result()
        async with asyncio.timeout(ANSWER):
            return await asyncio.to_thread(_known, known.address)
    except TimeoutError:
        return replace(known, problem=f"the Ray cluster at {known.address} has not answered for {ANSWER:g} s")
    except Unfit as error:
        return replace(known, problem=str(error))
    except Exception as error:  # of Ray's there are many
        return replace(known, problem=f"the Ray cluster at {known.address} cannot be asked: {in_short(error)}")


def _known(address: str) -> Cluster:
    import ray

    draining = _draining_nodes()
    nodes = [node_of(each, draining) for each in ray.nodes() if each["Alive"]]
    return Cluster(address=address, version=ray.__version__, nodes=sorted(nodes, key=lambda node: node.name))


def node_of(row: dict[str, Any], draining: set[str]) -> Node:
    """Of a row as ray.nodes() has it."""
    return Node(
        name=name_of(row),
        state="draining" if row["NodeID"] in draining else "alive",
        cpus=int(row["Resources"].get("CPU", 0)),
        gpus=int(row["Resources"].get("GPU", 0)),
    )


def _draining_nodes() -> set[str]:
    """Ids. A client of the cluster has to ask on it."""
    import ray
    from ray.util.client import ray as client

    def look() -> list[str]:
        from ray._private.state import state

        return list(state.get_draining_nodes())

    if not client.is_connected():
        return set(look())
    return set(ray.get(ray.remote(num_cpus=0, max_retries=0)(look).remote(), timeout=ANSWER / 2))
