"""Whether devices on a Ray cluster can be had, if settings name any. Ray is imported in a child, which may hang."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from echod import config
from echod.host.cluster import is_far
from echod.host.secret import without_secrets

TIMEOUT = 60.0  # seconds for Ray to be imported, and to join
REACH = 5.0  # seconds for its address to answer at all: Ray itself waits long, and may abort
INSTALL = "`pip install 'echod[ray]'` brings it"

PROBE = """
import json, sys, ray
ray.init(address=sys.argv[1], configure_logging=False, log_to_driver=False)
nodes = [node for node in ray.nodes() if node["Alive"]]
print(json.dumps([[node["NodeManagerHostname"], int(node["Resources"].get("GPU", 0))] for node in nodes]))
"""


class Finding(NamedTuple):
    ok: bool
    words: str
    required: bool = True


def findings(settings: config.Config, probe: str = PROBE, timeout: float = TIMEOUT) -> Iterator[Finding]:
    """Its version, and who is in the cluster; nothing where Ray is neither there nor wanted."""
    wanted = [device for device in settings.devices if is_far(device)]
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        if wanted:
            yield Finding(False, f"not installed, and devices names {', '.join(wanted)}; {INSTALL}")
        return
    if not wanted:
        yield Finding(True, f"{version}; not used: devices names none of a cluster", required=False)
        return
    if settings.ray_address == "local":
        yield Finding(True, f"{version}; the daemon starts a cluster of this machine alone (ray_address)")
        return
    yield Finding(True, f"{version}; {', '.join(wanted)} of the cluster at {settings.ray_address}")
    yield _cluster(settings.ray_address, probe, timeout)


def _cluster(address: str, probe: str, timeout: float) -> Finding:
    try:
        _reach(address)
    except OSError as error:
        return Finding(False, f"{address} cannot be reached: {error}; it is named by ray_address")
    environment = without_secrets(os.environ) | {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        child = subprocess.run(
            [sys.executable, "-c", probe, address], capture_output=True, text=True, timeout=timeout, env=environment
        )
    except subprocess.TimeoutExpired:
        return Finding(False, f"{address} did not answer within {timeout:g} s")
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"ended with {child.returncode}"])[-1]
        return Finding(False, f"{address} cannot be joined: {reason[:300]}")
    nodes: list[tuple[str, int]] = json.loads(child.stdout.splitlines()[-1])
    told = ", ".join(f"{name} {gpus} GPUs" for name, gpus in sorted(map(tuple, nodes)))
    return Finding(True, f"{len(nodes)} nodes: {told}")


def _reach(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), REACH).close()
