"""How memory grows with a clip's length: tiny EchoMimic weights at 64x64, 2 steps, 240 against 14,400 frames.

    python benchmarks/memory.py

Each length runs in a process of its own. What must grow, latents and audio features, is taken off.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

SIDE, STEPS, FPS, RATE = 64, 2, 24, 16_000
LENGTHS = (240, 14_400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, help="run one length here and print its peak")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    if options.frames:
        print(*run(options.weights, options.frames))
        return
    with tempfile.TemporaryDirectory() as directory:
        from echod.inference.echomimic.tiny import init_tiny

        init_tiny(Path(directory) / "weights")
        rest = []
        for frames in LENGTHS:
            command = [sys.executable, __file__, "--frames", str(frames), "--weights", f"{directory}/weights"]
            peak, growing = map(float, subprocess.check_output(command, text=True).split())
            rest.append(peak - growing)
            print(f"{frames:6} frames: peak {peak:7.1f} MB, of it {growing:6.1f} MB latents and features")
        print(f"beyond those the peaks differ by {abs(rest[1] - rest[0]):.1f} MB")


def run(weights: Path, frames: int) -> tuple[float, float]:
    """Make a clip of so many frames and throw it away; peak and what had to grow, in MB."""
    import torch

    from echod.inference.audio import Speech
    from echod.inference.echomimic import weights as files
    from echod.inference.echomimic.pipeline import Audio2VideoPipeline

    torch.manual_seed(0)
    pipeline = Audio2VideoPipeline(files.load(weights, "echomimic"))
    picture = np.random.RandomState(0).randint(0, 256, (SIDE, SIDE, 3), np.uint8)
    likeness = pipeline.prepare(picture, np.full((SIDE, SIDE), 255, np.uint8))
    with tempfile.TemporaryDirectory() as directory:
        speech = Speech.open(write_noise(Path(directory) / "speech.wav", frames / FPS))
        made = sum(len(batch) for batch in pipeline(likeness, speech, steps=STEPS))
    assert made == frames, made
    config = pipeline.models.config
    features = frames / FPS * 50 * (config.whisper.n_audio_layer + 1) * config.whisper.n_audio_state * 4
    latents = frames * 4 * (SIDE // 8) ** 2 * 4  # the noise becomes them, where it lies
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, (features + latents) / 1e6


def write_noise(path: Path, seconds: float) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        dice = np.random.RandomState(0)
        for _ in range(round(seconds)):
            file.writeframes(dice.randint(-8000, 8000, RATE).astype("<i2").tobytes())
    return path


if __name__ == "__main__":
    main()
