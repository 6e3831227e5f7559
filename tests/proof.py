"""`python -m tests.proof`: the installed daemon, under kills, makes the frames that the authors' code made.

Weights are written by the rule that the recorded run used. The same portrait and speech go through the command line;
the clip is decoded and compared with the recorded frames. Then the falsifier: without the audio factor it must differ.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from echod.client.client import Client
from echod.inference.echomimic.config import AUDIO_FACTOR, PRESETS
from tests.drivers.command import ECHOD
from tests.drivers.running import RunningDaemon, gone
from tests.making.layout import write_keyed

GOLDEN = Path(__file__).parent / "golden"
WITNESS = GOLDEN / "witness"
CLOSE = 1  # of 255: truncation to whole numbers may fall on either side
PLAIN = 10  # of 255, the mean difference that nobody could call rounding
DEVICES = ("--devices", "cpu,cpu", "--engine", "echomimic", "--dtype", "float32")

Clip = NDArray[np.uint8]


def main() -> int:
    began = time.monotonic()
    expected = recorded()
    with tempfile.TemporaryDirectory(prefix="echod-proof-") as name:
        directory = Path(name)
        weights, deaf = directory / "weights", directory / "deaf"
        write_keyed(GOLDEN / "keyed", weights)
        tell("weights", f"written by the rule of the recorded run, {megabytes(weights):.0f} MB")
        without_audio_factor(weights, deaf)
        with daemon(directory / "calm", weights) as running:
            calm, seconds = decode(submit(running)), time.monotonic() - began
            tell("undisturbed", f"{len(calm)} frames after {seconds:.0f} s, {against(calm, expected)}")
            shared, story = shared_out(running)
        tell("shared", f"{story}; {compared(shared, calm)}")
        with daemon(directory / "storm", weights) as running:
            storm, story = disturbed(running)
        tell("disturbed", f"{story}; {compared(storm, calm)}")
        with daemon(directory / "deaf-daemon", deaf) as running:
            false = decode(submit(running))
        tell("falsifier", f"without the audio factor: {against(false, expected)}")
    holds = {
        "undisturbed": calm.shape == expected.shape and worst(calm, expected) <= CLOSE,
        "shared": np.array_equal(shared, calm),
        "disturbed": np.array_equal(storm, calm),
        "falsifier": mean(false, expected) >= PLAIN,
    }
    failed = [name for name, held in holds.items() if not held]
    tell("proof", f"FAILS: {', '.join(failed)}" if failed else f"holds, in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def tell(row: str, text: str) -> None:
    print(f"{row:12} {text}", flush=True)


def recorded() -> Clip:
    """The recorded frames (n, H, W, 3), without those beyond the end of the speech."""
    options = json.loads((WITNESS / "witness.json").read_text())
    frames = load_file(WITNESS / "expected.safetensors")["video_uint8"][0].transpose(1, 2, 3, 0)
    with av.open(str(WITNESS / "speech.wav"), "r") as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        rate = container.streams.audio[0].rate
    return np.ascontiguousarray(frames[: int(np.ceil(samples / rate * options["fps"]))])


def without_audio_factor(weights: Path, deaf: Path) -> None:
    """The same weights, but what the audio attention puts out is divided by what it will be multiplied by."""
    shutil.copytree(weights, deaf)
    path = deaf / PRESETS["echomimic"].denoising
    state = torch.load(path, weights_only=True)
    for key in state:
        if "attn2.to_out.0" in key:
            state[key] /= AUDIO_FACTOR
    torch.save(state, path)


@contextmanager
def daemon(directory: Path, weights: Path) -> Iterator[RunningDaemon]:
    directory.mkdir()
    with RunningDaemon(directory, *DEVICES, "--weights", str(weights)) as running:
        running.until_idle()
        yield running


@contextmanager
def submitting(running: RunningDaemon) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`echod submit` as a person would type it, at work."""
    options = json.loads((WITNESS / "witness.json").read_text())
    out = running.directory / "clip.mp4"
    size = "x".join(map(str, options["size"]))
    flags = ("--size", size, "--seed", str(options["seed"]), "--fps", str(options["fps"]), "--lossless")
    command: list[str | Path] = [ECHOD, "submit", WITNESS / "portrait.png", WITNESS / "speech.wav", *flags, "-o", out]
    environ = os.environ | {"ECHOD_URL": running.url}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process, out
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors


def submit(running: RunningDaemon) -> Path:
    with submitting(running) as (_, out):
        pass
    return out


def shared_out(running: RunningDaemon) -> tuple[Clip, str]:
    """A run whose owner is killed while the other worker helps, which then goes on with what both have computed."""
    with submitting(running) as (_, out):
        extras = until_half_way(running, attempt=1, helped=True)
        owner = next(device for device in running.devices() if device["job"])
        os.kill(owner["pid"], signal.SIGKILL)
        gone([owner["pid"]])
    with running.client() as client:
        made = next(client.videos())["echod"]
    assert (made["attempt"], len(made["devices"])) == (2, 2), made
    assert made["windows_resumed"] >= extras["windows_done"], made
    story = f"owner killed at window {extras['windows_done']} of {extras['windows_total']}, helped by the other worker"
    return decode(out), f"{story}, which went on from {made['windows_resumed']}"


def disturbed(running: RunningDaemon) -> tuple[Clip, str]:
    """A run whose worker is killed in the middle, and then the daemon in the middle of the second attempt."""
    with submitting(running) as (_, out):
        extras = until_half_way(running, attempt=1)
        story = f"worker killed at window {extras['windows_done']} of {extras['windows_total']}"
        worker = next(device for device in running.devices() if device["job"])
        os.kill(worker["pid"], signal.SIGKILL)
        gone([worker["pid"]])
        extras = until_half_way(running, attempt=2)
        story += f", daemon at window {extras['windows_done']}"
        running.kill()
        running.start()
    with running.client() as client:
        (video,) = client.videos()
    return decode(out), f"{story}, attempt {video['echod']['attempt']} completed"


def until_half_way(running: RunningDaemon, attempt: int, *, helped: bool = False) -> dict[str, Any]:
    with Client(running.url) as client:
        for event in client.events():
            extras: dict[str, Any] = dict(event["video"]["echod"])
            assert event["video"]["status"] in ("queued", "in_progress"), event
            far = extras["windows_done"] > extras["windows_total"] / 3 > 0
            if extras["attempt"] == attempt and far and (extras["helpers"] or not helped):
                return extras
    raise AssertionError("the events ended")


def decode(clip: Path) -> Clip:
    with av.open(str(clip), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def compared(clip: Clip, calm: Clip) -> str:
    return f"{'bit-equal to' if np.array_equal(clip, calm) else 'DIFFERS FROM'} undisturbed"


def against(clip: Clip, expected: Clip) -> str:
    if clip.shape != expected.shape:
        return f"{clip.shape} and not {expected.shape}"
    return f"at most {worst(clip, expected)} of 255 from the recorded frames, {mean(clip, expected):.4f} on average"


def worst(clip: Clip, expected: Clip) -> int:
    return int(np.abs(clip.astype(int) - expected).max())


def mean(clip: Clip, expected: Clip) -> float:
    return float(np.abs(clip.astype(int) - expected).mean())


def megabytes(directory: Path) -> float:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
