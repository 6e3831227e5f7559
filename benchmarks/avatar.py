"""How soon /v1/avatar shows and falls silent, whether it drifts, and how twenty at once share two workers.

    python -m benchmarks.avatar

The preview engine, a 512x512 face at 24 fps for the delays; the long speech and the twenty are 128x128.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from echod.sound.resample import Resampler
from tests.drivers.running import RunningDaemon
from tests.drivers.showing import H264, PCM16, Avatar, Shown
from tests.making.media import EXAMPLES

FPS, SECOND = 24, 48_000  # bytes of sound
FIRST = 1.2  # seconds of sound, after which the first picture is waited for
FRAME_AIM, CLEAR_AIM = 300.0, 150.0  # milliseconds
TOGETHER, EACH = 20, 4.0  # clients at once, and seconds that each of them says


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="segments whose delays are measured")
    parser.add_argument("--minutes", type=float, default=10, help="of speech in one segment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        for name in ("one", "two"):
            (home / name).mkdir()
        with RunningDaemon(home / "one") as daemon:
            make_role(daemon)
            asyncio.run(delays(daemon, options.rounds))
            asyncio.run(drift(daemon, options.minutes))
        with RunningDaemon(home / "two", "--devices", "cpu,cpu") as daemon:
            make_role(daemon)
            asyncio.run(together(daemon))


def make_role(daemon: RunningDaemon) -> None:
    with daemon.http() as http, (EXAMPLES / "portrait.png").open("rb") as portrait:
        http.post("/v1/roles", data={"name": "ada"}, files={"portrait": portrait}).raise_for_status()
    daemon.until_idle()


@asynccontextmanager
async def opened(daemon: RunningDaemon, **start: Any) -> AsyncIterator[Avatar]:
    async with connect(f"{daemon.tcp.replace('http', 'ws')}/v1/avatar?role=ada", max_queue=None) as socket:
        avatar = Avatar(socket)
        await avatar.begin(**start)
        yield avatar


def speech() -> bytes:
    with wave.open(str(EXAMPLES / "speech.wav")) as file:
        resampler = Resampler(file.getframerate())
        return resampler.feed(file.readframes(file.getnframes())) + resampler.flush()


async def picture(avatar: Avatar) -> None:
    """Until the next one."""
    while True:
        shown = await avatar.step()
        if isinstance(shown, Shown) and shown.kind == H264:
            return


async def delays(daemon: RunningDaemon, rounds: int) -> None:
    said, firsts, clears = speech(), [], []
    async with opened(daemon, size="512x512") as avatar:
        for _ in range(rounds):
            await avatar.socket.send(said[: math.ceil(FIRST * FPS) * SECOND // FPS])
            began = time.perf_counter()
            await picture(avatar)
            firsts.append(time.perf_counter() - began)
            await avatar.socket.send(said[math.ceil(FIRST * FPS) * SECOND // FPS :])
            await picture(avatar)
            began = time.perf_counter()
            await avatar.send("clear")
            await avatar.until("cleared")
            clears.append(time.perf_counter() - began)
            daemon.until_idle()
    print(f"{'milliseconds':40} {'p50':>8} {'p95':>8} {'max':>8}")
    tell(f"first picture after {FIRST} s of sound", firsts, FRAME_AIM)
    tell("clear to silence", clears, CLEAR_AIM)


def tell(name: str, seconds: list[float], aim: float) -> None:
    taken = sorted(1000 * each for each in seconds)
    p50, p95 = (taken[math.ceil(share * len(taken)) - 1] for share in (0.5, 0.95))
    print(f"{name:40} {p50:8.1f} {p95:8.1f} {taken[-1]:8.1f}  aim: p50 <= {aim:g}{'' if p50 <= aim else ', MISSED'}")


async def drift(daemon: RunningDaemon, minutes: float) -> None:
    """One segment as fast as it can be made; what is said last is shown where it is said."""
    said = speech()
    said = (said * math.ceil(60 * minutes * SECOND / len(said)))[: round(60 * minutes) * SECOND]
    began = time.perf_counter()
    async with opened(daemon, size="128x128") as avatar:
        for start in range(0, len(said), 1 << 16):
            await avatar.socket.send(said[start : start + (1 << 16)])
        await avatar.send("flush")
        done = await avatar.until("segment.done")
    taken, sounds, pictures = time.perf_counter() - began, avatar.of(PCM16), avatar.of(H264)
    last, due = sounds[-1].microseconds, (len(sounds) - 1) * 1_000_000 / FPS
    apart = np.abs(np.subtract([each.microseconds for each in sounds], [each.microseconds for each in pictures])).max()
    print(
        f"{done['seconds']:.0f} s of speech in {taken:.0f} s: {len(pictures)} pictures, {len(sounds)} sounds; sound "
        f"{'as said' if avatar.sound() == said else 'CHANGED'}, at most {apart} us from its picture, the last "
        f"{last - due:+.0f} us late"
    )


async def together(daemon: RunningDaemon) -> None:
    said = speech()[: round(EACH * SECOND)]

    async def one() -> tuple[float, float, int]:
        async with opened(daemon, size="128x128") as avatar:
            began = time.perf_counter()
            await avatar.socket.send(said)
            await avatar.send("flush")
            await picture(avatar)
            first = time.perf_counter() - began
            await avatar.until("segment.done")
            places = [event["place"] for event in avatar.events if event["type"] == "queued"]
            return first, time.perf_counter() - began, max(places, default=0)

    told = await asyncio.gather(*(one() for _ in range(TOGETHER)))
    firsts, wholes, places = zip(*told, strict=True)
    print(
        f"{TOGETHER} at once, {EACH:g} s each, on two workers: first picture after {min(firsts):.1f} to "
        f"{max(firsts):.1f} s, all after {min(wholes):.1f} to {max(wholes):.1f} s; furthest place told: {max(places)}"
    )


if __name__ == "__main__":
    main()
