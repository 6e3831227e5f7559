"""EchoMimic's stages here and in another checkout, each in a process of its own, in turns.

    git worktree add --detach ../before 4ce4b4f
    OMP_NUM_THREADS=1 python -m benchmarks.against ../before --size 128x128 --rounds 3
    python -m benchmarks.against ../before --weights /tmp/random   # instead: from the start of a process to ready

Seconds of the process, of user and kernel, medians; the clock's beside them. Both have the same random models, and do
the same calls. It takes twice the memory of one. Weights that are not there yet are made: 16 GB, if of full
width.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent.parent
STEPS, FRAMES = 6, 12  # of the whole pipeline
GRID = 4  # frames that are decoded together
READY = """
import sys
from pathlib import Path
from echod.host import heap
getattr(heap, "keep", lambda: None)()  # as its workers do
from echod.inference.engines import load_engine
load_engine("echomimic", Path(sys.argv[1]), "cpu", "float32")
"""


class Spent(NamedTuple):
    """By one call: seconds of the process and of the clock, and page faults."""

    process: float
    clock: float
    faults: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("--width", default="full", choices=("full", "half", "tiny"))
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default="", help="only those with one of these words in their name: window,decode")
    parser.add_argument("--weights", type=Path, help="a directory for models as files, to time loading them")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side(options)
        return
    if options.weights and not options.weights.exists():
        write_models(options)
    sides = [Side(checkout, options) for checkout in (options.before.absolute(), HERE)]
    wanted = [row for row in sides[0].rows if any(word in row for word in options.rows.split(","))]
    spent: dict[str, list[list[Spent]]] = {row: [[], []] for row in wanted}
    for number in range(1 + options.rounds):
        for row, pair in spent.items():
            for each, so_far in zip(sides, pair, strict=True):
                took = each.run(row)
                if number:  # the first calls touch the weights
                    so_far.append(took)
    print(f"{options.width} width, {options.size}, load {os.getloadavg()[0]:.1f} at the end, {options.rounds} rounds")
    print(f"{'':34}{'before':>9}{'after':>9}{'ratio':>8}{'clock':>8}{'page faults':>22}")
    for row, pair in spent.items():
        before, after = (Spent(*map(statistics.median, zip(*each, strict=True))) for each in pair)
        ratios = f"{before.process / after.process:8.2f}{before.clock / after.clock:8.2f}"
        print(f"{row:34}{before.process:9.3f}{after.process:9.3f}{ratios}{before.faults:11.0f}{after.faults:11.0f}")
    peaks = [each.end() for each in sides]
    print(f"{'peak memory, GiB':34}{peaks[0]:9.2f}{peaks[1]:9.2f}{peaks[0] / peaks[1]:8.2f}")


class Side:
    """A process with the code of a checkout. `rows` are what it can do."""

    def __init__(self, checkout: Path, options: argparse.Namespace) -> None:
        command = [sys.executable, __file__, str(checkout), "--side", "--width", options.width, "--size", options.size]
        if options.weights:
            command += ["--weights", str(options.weights.absolute())]
        environ = os.environ | {"PYTHONPATH": str(checkout)}
        self._process = subprocess.Popen(
            command, cwd=checkout, env=environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.rows: list[str] = self._told()

    def run(self, row: str) -> Spent:
        self._say(row)
        return Spent(*self._told())

    def end(self) -> float:
        """Ends it. Its peak of memory in GiB."""
        self._say("")
        peak = float(self._told())
        self._process.wait()
        return peak

    def _say(self, row: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{row}\n")
        self._process.stdin.flush()

    def _told(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def side(options: argparse.Namespace) -> None:
    """Run what is asked for, with the code of whatever checkout the path names first."""
    with tempfile.TemporaryDirectory() as directory:
        rows = starting(options.weights) if options.weights else work(options, Path(directory))
        print(json.dumps(list(rows)), flush=True)
        for line in sys.stdin:
            if not line.strip():
                break
            print(json.dumps(timed(rows[line.strip()])), flush=True)
    print(max(resource.getrusage(who).ru_maxrss for who in WHOSE) / 2**20)


WHOSE = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


def timed(call: Callable[[], Any]) -> Spent:
    before, began = [resource.getrusage(who) for who in WHOSE], time.perf_counter()
    call()
    seconds, after = time.perf_counter() - began, [resource.getrusage(who) for who in WHOSE]
    process = sum(each.ru_utime + each.ru_stime for each in after) - sum(e.ru_utime + e.ru_stime for e in before)
    return Spent(process, seconds, sum(e.ru_minflt for e in after) - sum(e.ru_minflt for e in before))


def starting(weights: Path) -> dict[str, Callable[[], Any]]:
    """By itself: beside the models of the other rows there is no room for these."""
    return {"from start to ready": lambda: subprocess.run([sys.executable, "-c", READY, weights], check=True)}


def write_models(options: argparse.Namespace) -> None:
    from benchmarks.echomimic import WIDTHS
    from echod.inference.echomimic import tiny

    print(f"making random models in {options.weights}", file=sys.stderr)
    tiny.write(options.weights, WIDTHS[options.width], options.width)


def work(options: argparse.Namespace, directory: Path) -> dict[str, Callable[[], Any]]:
    """By name; a recording is made in the directory. Only what both checkouts have may be used here."""
    import numpy as np
    import torch
    from PIL import Image

    from benchmarks.echomimic import EXAMPLES, beginning, load
    from echod.host import heap
    from echod.inference import face
    from echod.inference.audio import Speech
    from echod.inference.echomimic import pictures
    from echod.inference.echomimic.config import WINDOW
    from echod.inference.echomimic.pipeline import Audio2VideoPipeline
    from echod.inference.echomimic.sampler import Sampler, noise, schedule
    from echod.inference.echomimic.windows import Plan

    getattr(heap, "keep", lambda: None)()  # as its workers do
    torch.manual_seed(0)
    models = load(argparse.Namespace(width=options.width, weights=None, device="cpu"), torch.float32)
    pipe = Audio2VideoPipeline(models)
    image = np.asarray(Image.open(EXAMPLES / "portrait.png").convert("RGB"))
    width, height = map(int, options.size.split("x"))
    crop = np.asarray(Image.fromarray(image).resize((width, height)))
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    likeness, speech = pipe.prepare(crop, mask), Speech.open(EXAMPLES / "speech.wav")
    short = beginning(EXAMPLES / "speech.wav", directory / "speech.wav", FRAMES / 24)
    audio = torch.randn(WINDOW, 50, models.config.whisper.n_audio_state)
    latents = noise(WINDOW, likeness.face.shape[2:], 420)

    def window(guidance: float) -> Callable[[], Any]:
        scheduler = schedule(models.config.scheduler, 1)
        sampler = Sampler(models.denoiser, lambda frames: audio, likeness, scheduler, Plan(WINDOW, 1), guidance)
        return lambda: sampler((0, 0), latents)

    return {
        "faces": lambda: face.find_faces(image),
        "audio, 7.7 s": lambda: pipe.hear(speech),
        "reference (encode, bank, face)": lambda: pipe.prepare(crop, mask),
        f"window call of {WINDOW} frames": window(1.0),
        "window call with guidance": window(2.5),
        f"decode, {GRID} frames": torch.inference_mode()(lambda: pictures.pictures(models.vae, latents[:GRID])),
        f"whole pipeline, {FRAMES} frames": lambda: list(pipe(likeness, short, steps=STEPS)),
    }


if __name__ == "__main__":
    main()
