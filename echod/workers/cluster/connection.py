"""Ray, as the link needs it: a cluster to be connected to, and an actor on it for each worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from pathlib import Path
from typing import Any, Protocol

from echod import __version__
from echod.workers.cluster import carrier

log = logging.getLogger("echod.cluster")

AGAIN = 5.0  # seconds between two tries to reach a cluster
REACH = 5.0  # seconds that one may take to answer at all
SAID = 300  # characters of what Ray says


class Unfit(Exception):
    """What no further try would change, in words for people."""


class Place(Protocol):
    """An actor on the cluster, that there is or will be."""

    async def call(self, method: str, *arguments: bytes | str | int) -> Any:
        """Raises whatever Ray does where the actor or its node is lost."""

    def end(self) -> None:
        """Have Ray kill it."""


class RayConnection:
    """`doing` says what has to be waited for until it is `connected`."""

    def __init__(self, address: str, cpus: int, directory: str) -> None:
        self.doing = f"connecting to the Ray cluster ({address})" if address != "local" else "starting Ray"
        self._address = address
        self._cpus = cpus
        self._directory = directory
        self._connecting: asyncio.Task[None] | None = None

    async def connected(self) -> None:
        """Raises Unfit."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
        await asyncio.shield(self._connecting)

    def place(self, device: str) -> Place:
        import ray

        ray.cloudpickle.register_pickle_by_value(carrier)
        wanted: dict[str, Any] = {"num_gpus": 1}
        if device != "ray":
            wanted = {"num_cpus": 1, "scheduling_strategy": "SPREAD"}  # one a node, where there are as many
        return Actor(ray.remote(max_restarts=0, max_task_retries=0, **wanted)(carrier.Carrier).remote())

    async def waits_for(self, device: str) -> str:
        """What an actor that is not there yet waits for."""
        import ray

        kind = "GPU" if device == "ray" else "CPU"
        free = await asyncio.to_thread(ray.available_resources)
        return "starting on a node" if free.get(kind, 0) >= 1 else f"waiting for the cluster to have a free {kind}"

    async def _connect(self) -> None:
        while True:
            try:
                await self._reach()
                await asyncio.to_thread(self._init)
                return
            except ImportError as error:
                raise Unfit(f"Ray cannot be imported ({error}): pip install 'echod[ray]'") from None
            except OSError as error:  # ConnectionError is one
                self.doing = f"waiting for the Ray cluster at {self._address}: {in_short(error)}"
                if isinstance(error, ConnectionError) and not has_token():
                    self.doing += " (if it wants a token: RAY_AUTH_TOKEN, or ~/.ray/auth_token as on its head)"
            except Exception as error:  # versions of Ray or Python differ, a token is missing
                raise Unfit(f"the Ray cluster at {self._address} cannot be joined: {in_short(error)}") from error
            log.warning("%s", self.doing)
            await asyncio.sleep(AGAIN)

    async def _reach(self) -> None:
        """Ray takes long over an address where nobody listens, and may abort this process."""
        host, _, port = self._address.removeprefix("ray://").rpartition(":")
        if port.isdigit():
            async with asyncio.timeout(REACH):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _init(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        here: dict[str, Any] = {}
        if self._address == "local":
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), TMPDIR=self._directory)
            here = {
                "include_dashboard": False,
                "num_cpus": max(self._cpus, len(os.sched_getaffinity(0))),
                "object_store_memory": 128 << 20,  # bytes: files travel in pieces
                "_temp_dir": self._directory,
                "_node_ip_address": "127.0.0.1",
                "_system_config": {"enable_worker_prestart": False},
            }
        elif has_token():  # Ray looks for one itself where it finds the cluster itself, and else waits to be told
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        ray.init(address=self._address, configure_logging=False, log_to_driver=False, namespace="echod", **here)
        log.info("connected to the Ray cluster (%s), ray %s, echod %s", self._address, ray.__version__, __version__)


def has_token() -> bool:
    """Whether there is one to be shown to a cluster that wants it."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or Path("~/.ray/auth_token").expanduser().exists()


class Actor:
    """A Place by Ray's handle."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def call(self, method: str, *arguments: bytes | str | int) -> Any:
        return await getattr(self._actor, method).remote(*arguments)

    def end(self) -> None:
        import ray

        ray.kill(self._actor)


def in_short(error: BaseException) -> str:
    """What it says, in short: of what was raised in an actor the last line, since the others are its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if "ray::" in lines[0] else 0][:SAID]
