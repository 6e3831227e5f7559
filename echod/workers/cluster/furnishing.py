"""What a child needs of its node: the directories there, and the weights in them, fetched if that was asked for."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path

from echod.config import Config, load
from echod.errors import EchodError
from echod.host.cores import cores
from echod.host.directories import create_private
from echod.inference.echomimic import hub, layout
from echod.inference.errors import InputError
from echod.inference.registry import find
from echod.workers.messages import Alive, NotReady
from echod.workers.spec import Spec

TICK = 1.0  # seconds between two signs of life while something is fetched


async def furnish(spec: Spec, directory: Path, node: str) -> AsyncIterator[Alive | NotReady | Spec]:
    """At last the Spec of the child, or why there can be none. `directory` holds its sockets."""
    try:
        config = load()
        create_private(config.state_dir / "cache")
        for wanted, lacking in _lacking(spec, config.weights_dir):
            if not spec.ray_pull_weights:
                yield NotReady(
                    f"node {node} lacks weights of {wanted}: {config.weights_dir} has no {', '.join(lacking)}. "
                    f"`echod weights pull {wanted}` there fetches them, and so does every node with "
                    "ray_pull_weights = true"
                )
                return
            async for doing in _fetched(config.weights_dir, wanted, node):
                yield doing
    except (EchodError, InputError) as error:
        yield NotReady(f"node {node}: {error}")
        return
    yield _here(spec, config, directory)


def _lacking(spec: Spec, weights: Path) -> list[tuple[str, list[str]]]:
    """What can be pulled, and which of its files are not there."""
    sets = [engine for engine in spec.engines if engine in layout.SETS and find(engine).built_in]
    if sets and spec.decoder in layout.SETS:
        sets.append(spec.decoder)
    return [(each, lacking) for each in sets if (lacking := layout.missing(weights, each))]


async def _fetched(weights: Path, wanted: str, node: str) -> AsyncIterator[Alive]:
    """Signs of life while it is; what is fetched is verified. Raises InputError."""
    told = [f"looking for weights of {wanted}"]
    pulling = asyncio.create_task(asyncio.to_thread(hub.pull, weights, wanted, told.append))
    while not pulling.done():
        yield Alive(f"fetching weights to node {node}: {told[-1]}"[:300])
        await asyncio.wait([pulling], timeout=TICK)
    pulling.result()


def _here(spec: Spec, config: Config, directory: Path) -> Spec:
    cache = config.state_dir / "cache"
    far_cpu = spec.device == "ray/cpu"
    cards = max(1, len(list(Path("/dev").glob("nvidia[0-9]*"))))
    return dataclasses.replace(
        spec,
        device="cpu" if far_cpu else "cuda:0",  # the one that Ray shows this process
        weights=str(config.weights_dir),
        digests=str(cache / "weights.json"),
        kernels=str(cache / "kernels") if spec.kernels else "",
        directory=str(directory),
        reports=str(directory / "reports"),
        inbox=str(directory / "inbox"),
        parent=os.getpid(),
        threads=min(spec.threads, cores()) if far_cpu else max(1, cores() // cards),
    )
