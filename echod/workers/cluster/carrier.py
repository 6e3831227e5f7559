"""The actor. Ray carries its class to the node as a value, so that it can tell what echod is there, if any.

So this module imports nothing of echod where the class is made; and nothing but bytes, text and numbers goes in or out.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echod.workers.cluster.node import NodeHand


def name_of(row: dict[str, Any]) -> str:
    """Of a node as ray.nodes() has it: what it was called at its start, where Ray puts its address if nobody did, else
    its machine's name.
    """
    called = row["NodeName"] not in ("", row["NodeManagerAddress"])
    return str(row["NodeName"] if called else row["NodeManagerHostname"])


def this_node() -> str:
    if "ray" in sys.modules:
        import ray

        here = ray.get_runtime_context().get_node_id()
        return next((name_of(row) for row in ray.nodes() if row["NodeID"] == here), socket.gethostname())
    return socket.gethostname()


class Carrier:
    """One a device; its methods are called by the link."""

    _hand: NodeHand

    async def about(self) -> bytes:
        about = {"node": this_node(), "version": None}
        try:
            from echod import __version__

            about["version"] = __version__
        except ImportError:
            pass
        return json.dumps(about).encode()

    async def start(self, birth: bytes) -> None:
        from echod.workers.cluster.node import NodeHand

        self._hand = NodeHand(birth)

    async def take(self, name: str, data: bytes, begins: bool) -> bytes:
        return self._hand.take(name, data, begins)

    async def order(self, order: bytes) -> None:
        self._hand.order(order)

    async def words(self) -> bytes:
        return await self._hand.words()

    async def kill(self, number: int) -> None:
        self._hand.kill(number)

    async def close(self) -> None:
        await self._hand.close()
