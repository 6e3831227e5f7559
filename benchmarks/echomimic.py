"""Where EchoMimic's time goes: every stage in milliseconds and FLOP/s, beside what this box can do at all.

    python benchmarks/echomimic.py --width full --size 128x128 --plain
    python benchmarks/echomimic.py --size 128x128,256x256 --dtype float32,bfloat16 --rows window,decode --frames 0
    python benchmarks/echomimic.py --weights weights --size 512x512 --device cuda --dtype float16

Without --weights the models are random: their speed is that of the real ones. `--plain` adds rows that do the work the
obvious way (nothing kept between windows, frames decoded one by one). All rows of all sizes and dtypes are interleaved,
and are medians; behind those of a further dtype stands how many times as fast they are as the first one's.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import tempfile
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from echod.host import heap
from echod.inference import face, framing
from echod.inference.audio import Speech
from echod.inference.echomimic import audio_features, pictures, sampler, weights
from echod.inference.echomimic.config import FPS, PRESETS, WINDOW, FaceLocatorConfig, ModelConfig, UNetConfig
from echod.inference.echomimic.denoiser import Conditions
from echod.inference.echomimic.motion import PositionEncoder, parting_mask, position_table
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from echod.inference.echomimic.tiny import TINY
from echod.inference.video import ClipWriter

EXAMPLES = Path(__file__).parent.parent / "examples"
FULL = ModelConfig()
WIDTHS = {
    "full": FULL,
    "half": ModelConfig(
        unet=UNetConfig(block_out_channels=(160, 320, 640, 640)),
        face_locator=FaceLocatorConfig(conditioning_embedding_channels=160),
    ),
    "tiny": TINY,
}

Work = Callable[[], Any]


@dataclass
class Row:
    """One stage. `per` is how many of its units one call does."""

    name: str
    work: Work
    per: int = 1
    seconds: list[float] | None = None
    flop: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds or [1.0])

    def line(self) -> str:
        median = self.median / self.per
        giga = self.flop / self.per / 1e9
        rate = f"{giga / median:10.1f} GFLOP/s {giga:10.1f} GFLOP" if giga else ""
        return f"{self.name:34} {1000 * median:11.2f} ms {rate}"


def main() -> None:
    options = arguments()
    heap.keep()  # as workers do
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    print(describe(options))
    with torch.inference_mode():
        rates = machine_rates(options.device, options.dtype)
        for dtype in options.dtype:
            for row in rates[dtype]:
                print(f"{f'{row.name}, {dtype}':34} {row.flop / row.median / 1e9:24.1f} GFLOP/s")
        convolution = {dtype: rows[-1].flop / rows[-1].median for dtype, rows in rates.items()}
        pipes = {dtype: Audio2VideoPipeline(load(options, getattr(torch, dtype))) for dtype in options.dtype}
        benches = [Bench(pipes[dtype], size) for size in options.size for dtype in options.dtype]
        if options.compile:
            for bench in benches[: len(options.dtype)]:
                bench.pipe.compile(bench.likeness, 1.0)
        for bench in benches:
            bench.choose(options.rows, plain=options.plain)
        measure([row for bench in benches for row in bench.measured], options.repeats, options.device)
        for number, bench in enumerate(benches):
            first = benches[number - number % len(options.dtype)]
            print(f"{bench.size[0]}x{bench.size[1]}, {bench.dtype}")
            bench.tell(convolution[bench.dtype], None if bench is first else first)
            if options.frames:
                bench.end_to_end(options.frames)
    print(peak_memory(options.device))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", choices=WIDTHS, default="full")
    parser.add_argument("--weights", type=Path, help="a directory in the published layout, instead of random models")
    parser.add_argument("--engine", choices=PRESETS, default="echomimic")
    parser.add_argument("--size", default="128x128", help="or several: 128x128,256x256")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", help="or several: float32,bfloat16")
    parser.add_argument("--rows", default="", help="only those with one of these words in their name: window,decode")
    parser.add_argument("--plain", action="store_true", help="the obvious way too, interleaved")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=24, help="of the end-to-end run; 0: none")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--compile", action="store_true", help="kernels for the first size, as workers on cards do for 512x512"
    )
    options = parser.parse_args()
    dtypes = options.dtype or ("float16" if options.device.startswith("cuda") else "float32")
    options.dtype, options.rows = dtypes.split(","), options.rows.split(",")
    options.size = [tuple(map(int, size.split("x"))) for size in options.size.split(",")]
    return options


def describe(options: argparse.Namespace) -> str:
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else processor()
    models = options.weights or f"random, {options.width} width"
    return f"torch {torch.__version__}, {device}, {models}, median of {options.repeats}"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {torch.get_num_threads()} threads"


def machine_rates(device: str, dtypes: list[str]) -> dict[str, list[Row]]:
    """A large matrix product and a convolution like the networks' own, timed in each dtype."""
    rows = {dtype: machine_rows(device, getattr(torch, dtype)) for dtype in dtypes}
    measure([row for each in rows.values() for row in each], 5, device)
    return rows


def machine_rows(device: str, dtype: torch.dtype) -> list[Row]:
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    image = torch.randn(WINDOW, 320, 64, 64, device=device, dtype=dtype)
    kernel = torch.randn(320, 320, 3, 3, device=device, dtype=dtype)
    return [Row("matrix product", lambda: a @ b), Row("convolution 3x3", lambda: F.conv2d(image, kernel, padding=1))]


def measure(rows: list[Row], repeats: int, device: str) -> None:
    """Time rows in turns, so that whatever disturbs the box disturbs all of them."""
    for row in rows:
        with FlopCounterMode(display=False) as counter:
            row.work()
        row.flop, row.seconds = counter.get_total_flops(), []
    for _ in range(repeats):
        for row in rows:
            synchronise(device)
            began = time.perf_counter()
            row.work()
            synchronise(device)
            assert row.seconds is not None
            row.seconds.append(time.perf_counter() - began)


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def load(options: argparse.Namespace, dtype: torch.dtype) -> weights.Models:
    if options.weights:
        return weights.load(options.weights, options.engine, options.device, dtype)
    config = WIDTHS[options.width]
    nets = {name: randomise(net, options.device, dtype) for name, net in weights.build(config).items()}
    return weights.Models(
        reference=nets["reference_unet"],
        denoiser=nets["denoising_unet"],
        face_locator=nets["face_locator"],
        vae=nets["vae"],
        whisper=nets["whisper"].float(),
        config=config,
        tiny=True,
    )


def randomise(net: Any, device: str, dtype: torch.dtype) -> Any:
    net = net.to_empty(device=device).eval().requires_grad_(False)
    nn.Module.to(net, dtype)  # diffusers' own `to` warns of tensors it does not have
    for tensor in (*net.parameters(), *net.buffers()):
        scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.1
        tensor.normal_(0, scale)
    for part in net.modules():
        if isinstance(part, nn.GroupNorm | nn.LayerNorm):
            nn.init.ones_(part.weight)
        if isinstance(part, PositionEncoder):
            _, positions, channels = part.get_buffer("pe").shape
            part.pe = position_table(positions, channels).to(device)
    return net


class Bench:
    """The stages of one pipeline, which has one dtype, at one size."""

    def __init__(self, pipe: Audio2VideoPipeline, size: tuple[int, int]) -> None:
        self.pipe = pipe
        self.size = size
        self.dtype = str(pipe.dtype).removeprefix("torch.")
        self.image = np.asarray(Image.open(EXAMPLES / "portrait.png").convert("RGB"))
        self.speech = Speech.open(EXAMPLES / "speech.wav")
        box = face.find_faces(self.image)[0].box
        rect = framing.crop_rect(self.image.shape[:2], box, self.size)
        self.crop = face.crop_and_resize(self.image, rect, self.size)
        self.mask = face.crop_and_resize(face.face_mask(self.image.shape[:2], box), rect, self.size)
        self.likeness = pipe.prepare(self.crop, self.mask)
        self.measured: list[Row] = []

    def choose(self, words: list[str], *, plain: bool) -> None:
        self.measured = [row for row in self.rows(plain) if any(word in row.name for word in words)]

    def tell(self, convolution: float, first: Bench | None) -> None:
        for number, row in enumerate(self.measured):
            share = row.flop / row.median / convolution if row.flop else 0
            times = f"  {first.measured[number].median / row.median:5.2f} x {first.dtype}" if first and row.flop else ""
            print(row.line() + (f"  {share:6.0%} of the convolution rate" if share else "") + times)

    def rows(self, plain: bool) -> list[Row]:
        batch = pictures.decode_batch(self.latents())
        rows = [
            Row("face", lambda: face.find_faces(self.image)),
            Row("audio, 7.7 s", lambda: self.pipe.hear(self.speech)),
            Row("reference (encode, bank, face)", lambda: self.pipe.prepare(self.crop, self.mask)),
            Row(f"window call of {WINDOW} frames", self.window()),
            Row("decode, a frame", self.decoding(batch), per=batch),
            Row("encode, a frame", self.encoding(), per=WINDOW),
        ]
        if plain:
            rows.insert(4, Row("plain window call", self.plain_window()))
            rows.insert(6, Row("plain decode, a frame", self.decoding(1)))
        return rows

    def window(self) -> Work:
        """What the sampler does for its windows: the step's shifts and the portrait's keys are there already."""
        denoiser, latents, audio = self.pipe.models.denoiser, self.latents(), self.audio()
        shifts = denoiser.time_shifts(499)
        likeness = self.likeness
        mask = parting_mask(denoiser.places, WINDOW, latents) if denoiser.places > 1 else None
        given = Conditions(shifts, audio, likeness.face, likeness.bank, WINDOW, mask=mask)
        return lambda: sampler.predict(denoiser, latents, given, 1.0)

    def plain_window(self) -> Work:
        """One window, everything computed on the spot: the step's shifts, and the bank's keys for every frame."""
        models, latents, audio = self.pipe.models, self.latents()[:WINDOW], self.audio()[:WINDOW]
        picture = pictures.to_picture(self.crop).to(self.pipe.device)
        bank = models.reference.bank(pictures.encode(models.vae, picture))
        repeated = {path: tokens.repeat(WINDOW, 1, 1) for path, tokens in bank.items()}

        def work() -> Tensor:
            shifts = models.denoiser.time_shifts(499)
            keys = models.denoiser.bank_keys(repeated)
            given = Conditions(shifts, audio, self.likeness.face, keys, WINDOW)
            return sampler.predict(models.denoiser, latents, given, 1.0)

        return work

    def decoding(self, frames: int) -> Work:
        latents = self.latents()[:frames]
        return lambda: pictures.to_frames(pictures.decode(self.pipe.models.vae, latents))

    def encoding(self) -> Work:
        frames = np.repeat(self.crop[None], WINDOW, 0)
        speech = self.speech

        def work() -> None:
            with tempfile.TemporaryDirectory() as directory:
                writer = ClipWriter(Path(directory) / "clip.mp4", self.size, 24, speech, lossless=False, mark={})
                writer.write(frames)
                writer.close()

        return work

    def latents(self) -> Tensor:
        rows = WINDOW
        return sampler.noise(rows, self.likeness.face.shape[2:], 420).to(self.pipe.device, self.pipe.dtype)

    def audio(self) -> Tensor:
        features = self.pipe.hear(self.speech)
        frames = range(WINDOW)
        return audio_features.FrameAudio(features, WINDOW, FPS)(frames)

    def end_to_end(self, frames: int) -> None:
        """From a prepared portrait and a speech of so many frames to all its frames."""
        began, first, made = time.perf_counter(), 0.0, 0
        with tempfile.TemporaryDirectory() as directory:
            speech = beginning(self.speech.path, Path(directory) / "speech.wav", frames / FPS)
            for batch in self.pipe(self.likeness, speech, steps=PRESETS["echomimic"].steps):
                first = first or time.perf_counter() - began
                made += len(batch)
        seconds = time.perf_counter() - began
        rate = f"{made / seconds:.3f} frames/s, first after {first:.1f} s"
        print(f"{'end to end, 6 steps':34} {made} frames in {seconds:.1f} s: {rate}")


def beginning(recording: Path, part: Path, seconds: float) -> Speech:
    with wave.open(str(recording)) as source, wave.open(str(part), "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(round(seconds * source.getframerate())))
    return Speech.open(part)


def peak_memory(device: str) -> str:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    card = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the card" if device.startswith("cuda") else ""
    return f"{'peak memory':34} {host:.1f} GiB on the host{card}"


if __name__ == "__main__":
    main()
