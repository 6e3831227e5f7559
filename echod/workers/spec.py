"""What workers are told at birth."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echod.host.cluster import is_far
from echod.host.cores import cores

if TYPE_CHECKING:
    from echod.config import Config


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything a worker is told at birth. `directory` holds the ipc sockets."""

    index: int = 0
    epoch: int = 0
    device: str = "cpu"
    engines: tuple[str, ...]
    dtype: str = "auto"
    decoder: str = "vae"
    weights: str
    digests: str = ""  # the file where those of weights are kept
    kernels: str = ""  # the directory for those that are compiled; empty: none are
    directory: str
    reports: str
    inbox: str = ""
    parent: int
    threads: int
    log_level: str = "info"
    log_json: bool = False
    cache_bytes: int = 1 << 30
    ray_address: str = "local"  # of the cluster, for workers on it
    ray_pull_weights: bool = False  # whether a node fetches what it lacks


def worker_spec(config: Config, devices: tuple[str, ...], engines: tuple[str, ...]) -> Spec:
    """What all workers have in common. The cores are shared out among those here: CUDA's use them for portraits."""
    here = sum(not is_far(device) for device in devices)
    directory = config.runtime_dir / "workers"
    return Spec(
        engines=engines,
        dtype=config.dtype,
        decoder=config.decoder,
        weights=str(config.weights_dir),
        digests=str(config.state_dir / "cache" / "weights.json"),
        kernels=str(config.state_dir / "cache" / "kernels") if config.compile == "auto" else "",
        directory=str(directory),
        reports=str(directory / "reports"),
        parent=os.getpid(),
        threads=max(1, cores() // max(1, here)),
        log_level=config.log_level,
        log_json=config.log_json,
        ray_address=config.ray_address,
        ray_pull_weights=config.ray_pull_weights,
    )
