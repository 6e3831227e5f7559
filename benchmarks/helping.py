"""One clip by two workers of one thread each, against one of one thread; what the board costs.

    python -m benchmarks.helping [--rounds 5] [--seconds 3] [--width medium]

Models of a medium width with random weights, 64x64, six steps. Both fleets wait beside each other, and their clips are
made in turns; times are from a clip's first window call on. The simulation is given what calls and batches took in the
clips of the one worker, and is compared with those of two.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import timed_worker
from benchmarks.machine import file_system, machine
from benchmarks.simulation import STEPS, Costs, simulate
from echod.inference import contract
from echod.inference.echomimic import tiny
from echod.inference.echomimic.board import GRID, Batch, Board
from echod.inference.echomimic.config import FPS
from echod.inference.echomimic.tiny import TINY
from echod.inference.echomimic.windows import Plan
from echod.inference.room import Room
from tests.drivers import bench as benches
from tests.drivers.bench import Bench, bench
from tests.making.media import write_wav

WIDTHS = {"tiny": (32, 64, 64, 64), "medium": (64, 128, 256, 256)}
SIDE = 64
KB = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--width", choices=WIDTHS, default="medium")
    parser.add_argument("--frames", type=int, default=240, help="of the clip whose board is measured, at 512x512")
    options = parser.parse_args()
    benches.TIMEOUT = 600.0  # seconds until a clip is taken to hang
    print(machine())
    board(options.frames)
    asyncio.run(compare(options))


@dataclass
class Making:
    """Of one clip: seconds to its end and to its first frames, means of calls and batches, the board's CPU time.

    `busy` is the share of the time in which a worker was in a call or batch.
    """

    clip: float
    first: float
    busy: float
    call: float
    batch: float
    board: float
    calls: int


async def compare(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="echod-") as name:
        directory = Path(name)
        speech = write_wav(directory / "speech.wav", options.seconds)
        weights = directory / "weights"
        write_weights(weights, WIDTHS[options.width])
        os.environ[timed_worker.TIMES] = str(directory / "times")
        async with AsyncExitStack() as stack:
            fleets = {}
            for devices in (1, 2):
                (at := directory / str(devices)).mkdir()
                fleet = bench(at, devices, timed_worker.main, engines=("echomimic",), weights_dir=weights)
                fleets[devices] = await stack.enter_async_context(fleet)
                await fleets[devices].ready()
            made: dict[int, list[Making]] = {devices: [] for devices in fleets}
            for fleet_of in fleets.values():  # the first one finds nothing warm
                await make(fleet_of, write_wav(directory / "warm.wav", 0.7), 0.7, directory / "times")
            for _ in range(options.rounds):
                for devices, fleet_of in fleets.items():
                    made[devices].append(making := await make(fleet_of, speech, options.seconds, directory / "times"))
                    print(f"  {making.clip:.2f} s by {devices}, load {os.getloadavg()[0]:.1f}", flush=True)
    report(made, options.seconds)


def write_weights(directory: Path, widths: tuple[int, ...]) -> None:
    locator = replace(TINY.face_locator, conditioning_embedding_channels=widths[0])
    config = replace(TINY, unet=replace(TINY.unet, block_out_channels=widths), face_locator=locator)
    tiny.write(directory, config, "medium")


async def make(work: Bench, speech: Path, seconds: float, times: Path) -> Making:
    times.unlink(missing_ok=True)
    job = await work.ended(await work.film(speech, seconds, side=SIDE))
    assert job.status == "completed", job.error
    spans: dict[str, list[tuple[float, float, float]]] = {"call": [], "batch": [], "board": []}
    for line in times.read_text().splitlines():
        kind, *moments = line.split()
        began, ended, cpu = map(float, moments)
        spans[kind].append((began, ended, cpu))
    start = min(began for began, _, _ in spans["call"])
    ends = sorted(ended for _, ended, _ in spans["batch"])
    busy = sum(ended - began for began, ended, _ in (*spans["call"], *spans["batch"]))
    return Making(
        clip=ends[-1] - start,
        first=ends[0] - start,
        busy=busy / (ends[-1] - start) / len(work.fleet.workers),
        call=statistics.fmean(ended - began for began, ended, _ in spans["call"]),
        batch=statistics.fmean(ended - began for began, ended, _ in spans["batch"]),
        board=sum(cpu for _, _, cpu in spans["board"]),
        calls=len(spans["call"]),
    )


def report(made: dict[int, list[Making]], seconds: float) -> None:
    best = {devices: min(makings, key=lambda making: making.clip) for devices, makings in made.items()}
    alone, both = best[1], best[2]
    wanted = round(seconds * FPS)
    plan = Plan(wanted + 2, STEPS)
    assert plan.calls == alone.calls == both.calls, "nothing is computed twice"
    told = simulate(plan, wanted, 2, Costs(alone.call, alone.batch / GRID))
    slow = simulate(plan, wanted, 2, Costs(both.call, both.batch / GRID))
    medians = [statistics.median(making.clip for making in makings) for makings in made.values()]
    print(
        f"{'best of ' + str(len(made[1])):24} {'clip, s':>9} {'first frame, s':>15} {'call, ms':>9} {'batch, ms':>10}"
    )
    for name, making in (("one worker", alone), ("two workers", both)):
        line = f"{name:24} {making.clip:9.2f} {making.first:15.2f} {1e3 * making.call:9.0f} {1e3 * making.batch:10.0f}"
        line += f" {making.busy:6.1%}"
        print(f"{line}   the board {making.board / making.clip:.1%}")
    print(f"{'simulated, two':24} {told.seconds:9.2f} {told.shown[0]:15.2f}   by the one worker's times")
    print(f"{'':24} {slow.seconds:9.2f} {slow.shown[0]:15.2f}   by the two workers' own times")
    print(f"by what the workers' time went into, whatever else the box did: {2 * both.busy / alone.busy:.2f} times")
    print(f"speed {alone.clip / both.clip:.2f} (aim 1.8), of medians {medians[0] / medians[1]:.2f}; first frame "
          f"{alone.first / both.first:.2f}; the simulation is off by {told.seconds / both.clip - 1:+.1%} and "
          f"{slow.seconds / both.clip - 1:+.1%} (aim 10 %)")  # fmt: skip


def board(frames: int) -> None:
    """CPU time of a board's work at 512x512 in float16, and its bytes, with nothing computed in between."""
    plan = Plan(frames + 2, STEPS)
    latents = torch.randn(plan.frames, 4, 64, 64).half()
    velocities = torch.randn(plan.window, 4, 64, 64)
    with tempfile.TemporaryDirectory(prefix="echod-") as name:
        at = Path(name) / "board"
        place = contract.Board(at, Room(at.parent))
        made = Board.begin(plan, latents, frames, lambda level, v, latents: latents - 0.1 * v, place)
        size, kept, spent = (at / "board").stat().st_size, 0, list[float]()
        while not made.complete:
            began = time.thread_time()
            match task := made.take():
                case Batch():
                    made.final(task)
                    made.pass_over(task)
                case (_, _):
                    made.given(task)
                    made.add(task, velocities)
                case None:
                    raise AssertionError("nobody else is at it")
            spent.append(time.thread_time() - began)
            kept = max(kept, stored(at) - size)
        made.close()
    print(
        f"a board of {frames} frames at 512x512: {size / plan.frames / KB:.1f} KB a frame ({2 * 32} of it latents), "
        f"at most {kept / KB / KB:.1f} MB of results beside it; {1e3 * sum(spent) / plan.calls:.2f} ms of CPU time a "
        f"window call (on {file_system(Path(tempfile.gettempdir()))}), decodes with it"
    )


def stored(directory: Path) -> int:
    sizes: list[Any] = [path.stat().st_size for path in directory.iterdir()]
    return sum(sizes)


if __name__ == "__main__":
    main()
