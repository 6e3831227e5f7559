"""The actor. Ray carries its class to the node as a value, so that it can tell what echod is there, if any.

So this module imports nothing of echod where the class is made; and nothing but bytes, text and numbers goes in or out.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echod.workers.cluster.node import Node


class Carrier:
    """One a device; its methods are called by the link."""

    _node: Node

    async def about(self) -> bytes:
        about = {"node": socket.gethostname(), "version": None}
        try:
            from echod import __version__

            about["version"] = __version__
        except ImportError:
            pass
        return json.dumps(about).encode()

    async def start(self, birth: bytes) -> None:
        from echod.workers.cluster.node import Node

        self._node = Node(birth)

    async def take(self, name: str, data: bytes, begins: bool) -> None:
        self._node.take(name, data, begins)

    async def order(self, order: bytes) -> None:
        self._node.order(order)

    async def words(self) -> bytes:
        return await self._node.words()

    async def kill(self, number: int) -> None:
        self._node.kill(number)

    async def close(self) -> None:
        await self._node.close()
