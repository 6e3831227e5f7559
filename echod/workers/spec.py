"""What workers are told at birth."""

from __future__ import annotations

import os

from echod.config import Config
from echod.gpu_proc import Spec
from echod.host.cores import cores


def worker_spec(config: Config, devices: tuple[str, ...], engines: tuple[str, ...]) -> Spec:
    """What all workers have in common. The cores are shared out among them: CUDA's prepare portraits on the CPU."""
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
        threads=max(1, cores() // max(1, len(devices))),
        log_level=config.log_level,
        log_json=config.log_json,
    )
