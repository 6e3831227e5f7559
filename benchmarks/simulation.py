"""How long a clip takes on so many devices: list scheduling of its window calls and decodes, nothing computed.

    python -m benchmarks.simulation [--call 46] [--decode 7.1] [--overhead 0.5]        (milliseconds)

Whoever is free takes the earliest batch of final frames, else the first call of the wavefront whose needs are done.
"""

from __future__ import annotations

import argparse
import heapq
from collections import defaultdict
from dataclasses import dataclass

from echod.inference.echomimic.board import GRID, Batch
from echod.inference.echomimic.windows import Call, Plan, wavefront

STEPS, BEYOND = 6, 2  # a clip is planned with up to two frames more than it shows


@dataclass(frozen=True)
class Costs:
    """Seconds of a window call, of a decoded frame, and of what comes with either a call or a batch."""

    call: float
    frame: float
    overhead: float = 0.0


@dataclass(frozen=True)
class Making:
    """When the whole clip is there, and each of its frames with all before it; in seconds."""

    seconds: float
    shown: list[float]


def simulate(plan: Plan, wanted: int, devices: int, costs: Costs) -> Making:
    rank = {call: place for place, call in enumerate(wavefront(plan))}
    missing = {call: len(plan.needs(call)) for call in rank}
    after: dict[Call, list[Call | Batch]] = defaultdict(list)
    batches: dict[Batch, int] = {}
    for call in rank:
        for earlier in plan.needs(call):
            after[earlier].append(call)
    for number in range(-(-wanted // GRID)):
        frames = range(number * GRID, min((number + 1) * GRID, wanted))
        last = {call for frame in frames for call in plan.covering(plan.steps - 1, frame)}
        batches[Batch(number)] = len(last)
        for call in last:
            after[call].append(Batch(number))
    ready: list[tuple[int, int, Call | Batch]] = [(1, rank[call], call) for call, left in missing.items() if not left]
    running: list[tuple[float, int, Call | Batch]] = []
    now, taken, shown = 0.0, 0, [0.0] * wanted
    while ready or running:
        while ready and len(running) < devices:
            _, _, task = heapq.heappop(ready)
            work = costs.frame * GRID if isinstance(task, Batch) else costs.call
            taken += 1
            heapq.heappush(running, (now + work + costs.overhead, taken, task))
        now, _, done = heapq.heappop(running)
        if isinstance(done, Batch):
            for frame in range(done.number * GRID, min((done.number + 1) * GRID, wanted)):
                shown[frame] = now
            continue
        for task in after[done]:
            if isinstance(task, Batch):
                batches[task] -= 1
                if not batches[task]:
                    heapq.heappush(ready, (0, task.number, task))
            else:
                missing[task] -= 1
                if not missing[task]:
                    heapq.heappush(ready, (1, rank[task], task))
    for frame in range(1, wanted):
        shown[frame] = max(shown[frame], shown[frame - 1])
    return Making(now, shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--call", type=float, default=46.0)
    parser.add_argument("--decode", type=float, default=7.1)
    parser.add_argument("--overhead", type=float, default=0.5)
    given = parser.parse_args()
    costs = Costs(given.call / 1000, given.decode / 1000, given.overhead / 1000)
    print("| frames | devices | whole clip, s | frames/s | efficiency | first frame, s | frame 24, s |")
    print("|---|---|---|---|---|---|---|")
    for frames in (74, 240, 1200):
        plan, wanted = Plan(frames, STEPS), frames - BEYOND
        alone = simulate(plan, wanted, 1, costs).seconds
        for devices in (1, 2, 4, 8):
            made = simulate(plan, wanted, devices, costs)
            efficiency = alone / devices / made.seconds
            print(
                f"| {frames} | {devices} | {made.seconds:.2f} | {wanted / made.seconds:.0f} | {efficiency:.2f} "
                f"| {made.shown[0]:.2f} | {made.shown[23]:.2f} |"
            )


if __name__ == "__main__":
    main()
