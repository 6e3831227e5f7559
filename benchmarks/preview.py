"""The preview engine through the daemon at 512x512: frames per second, the wait for the first fragment, memory.

    python -m benchmarks.preview

Everything from the submit on counts: upload, inspection, journal, frames, encoding, publishing. The first fragment is
there when a client that reads the stream has it. One worker makes all clips, and has made one before.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import wave
from pathlib import Path

from benchmarks.machine import machine
from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES

PORTRAIT = EXAMPLES / "portrait.png"
SHORT = 10.0  # seconds of speech
CLIPS = 10  # whose first fragment is waited for
RATE_AIM, FIRST_AIM, MEMORY_AIM = 48.0, 1.0, 60.0  # frames/s, seconds, MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", type=float, default=600.0, help="seconds of speech of the long clip")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="echod-") as directory, RunningDaemon(Path(directory)) as daemon:
        daemon.until_idle()
        short, long = (speech(Path(directory) / f"{seconds:g}.wav", seconds) for seconds in (SHORT, options.long))
        make(daemon, short)
        measure_first_fragment(daemon, short)
        few, many = measure_clip(daemon, short), measure_clip(daemon, long)
        tell("the long clip's peak is higher by", f"{many - few:.0f} MB", MEMORY_AIM, many - few < MEMORY_AIM)


def measure_first_fragment(daemon: RunningDaemon, recording: Path) -> None:
    waits = [first_fragment(daemon, recording) for _ in range(CLIPS)]
    median = statistics.median(waits)
    figure = f"{median:.2f} s, the longest {max(waits):.2f}"
    tell(f"submit to first fragment, median of {CLIPS}", figure, FIRST_AIM, median < FIRST_AIM)


def measure_clip(daemon: RunningDaemon, recording: Path) -> float:
    """Print how fast a clip comes; the worker's peak memory so far, in MB."""
    frames, taken = make(daemon, recording)
    peak = peak_memory(daemon.devices()[0]["pid"])
    rate = frames / taken
    figure = f"{rate:.0f} frames/s ({frames} frames in {taken:.1f} s), peak {peak:.0f} MB"
    tell(f"{recording.stem} s of speech, submit to clip", figure, RATE_AIM, rate >= RATE_AIM)
    return peak


def tell(what: str, figure: str, aim: float, met: bool) -> None:
    print(f"{what:44} {figure}  (aim {aim:g}{'' if met else ', MISSED'})", flush=True)


def make(daemon: RunningDaemon, recording: Path) -> tuple[int, float]:
    """How many frames the clip has, and the seconds it took."""
    with daemon.client() as client:
        began = time.perf_counter()
        *_, last = client.follow(client.submit(PORTRAIT, recording)["id"])
        taken = time.perf_counter() - began
    assert last["video"]["status"] == "completed", last
    return last["video"]["echod"]["frames"], taken  # type: ignore[typeddict-item]


def first_fragment(daemon: RunningDaemon, recording: Path) -> float:
    with daemon.client() as client, daemon.http() as http:
        began = time.perf_counter()
        video = client.submit(PORTRAIT, recording)["id"]
        with http.stream("GET", f"/v1/videos/{video}/stream") as stream:
            streamed, taken = b"", 0.0
            for piece in stream.iter_raw():
                if not taken:
                    streamed += piece
                    if b"mdat" in streamed:  # a fragment's frames, behind the header and its table
                        taken = time.perf_counter() - began
        assert client.video(video)["status"] == "completed"
    return taken


def speech(path: Path, seconds: float) -> Path:
    """The example's words, again and again for so long."""
    with wave.open(str(EXAMPLES / "speech.wav")) as source, wave.open(str(path), "wb") as target:
        target.setparams(source.getparams())
        words, left = source.readframes(source.getnframes()), round(seconds * source.getframerate())
        width = source.getsampwidth() * source.getnchannels()
        while left > 0:
            part = words[: left * width]
            target.writeframes(part)
            left -= len(part) // width
    return path


def peak_memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


if __name__ == "__main__":
    main()
