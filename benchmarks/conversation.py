"""What echod itself adds to a spoken turn: from the commit to the first sound, and to the first picture that plays.

    python -m benchmarks.conversation
    python -m benchmarks.conversation --weights DIR --seconds 3    # by EchoMimic, idle alone; on a card

A daemon with one CPU worker and the preview engine at 512x512, first idle, then while a long batch clip runs on that
worker. It hears, replies and speaks by a server on the loopback interface that answers at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from openai import AsyncOpenAI

from benchmarks.machine import machine
from echod.sound.pcm import SPEAK_RATE
from tests.drivers.running import RunningDaemon
from tests.drivers.talking import Talk
from tests.making.media import EXAMPLES, write_wav
from tests.making.playback import playable
from tests.stand_ins.loopback import Exchange, LoopbackServer, Request

UTTERANCE = bytes(2 * SPEAK_RATE)  # a second is said
SENTENCE = "This is a sentence, and it takes as long to speak as is asked for."
LONG_SECONDS = 1200.0  # of a recording whose clip takes longer than all turns beside it
WARM_UP = 3  # turns that are not counted
SOUND_AIM, PICTURE_AIM = 50.0, 1500.0  # milliseconds, p95


class Instant(LoopbackServer):
    """Knows every answer at once; a sentence takes so many seconds to speak."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._sound = (8000 * np.sin(np.arange(int(seconds * SPEAK_RATE)) / 20)).astype("<i2").tobytes()

    async def answer(self, request: Request, exchange: Exchange) -> None:
        if request.path.endswith("transcriptions"):
            await exchange.respond(200, {"text": "Say something."})
        elif request.path.endswith("completions"):
            choices = ({"delta": {"content": SENTENCE}}, {"delta": {}, "finish_reason": "stop"})
            events = "".join(f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices)
            await self._send(exchange, "text/event-stream", events.encode())
        else:
            await self._send(exchange, "audio/pcm", self._sound)

    async def _send(self, exchange: Exchange, kind: str, content: bytes) -> None:
        await exchange.begin_chunked(kind)
        await exchange.chunk(content)
        await exchange.chunk(b"")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=100, help="spoken turns of each kind with sound")
    parser.add_argument("--clips", type=int, default=40, help="the same with pictures")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long the sentence takes to speak")
    parser.add_argument("--size", default="512x512", help="of the role's clips")
    parser.add_argument("--weights", help="of EchoMimic, which makes the clips then")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory), options))


async def run(directory: Path, options: argparse.Namespace) -> None:
    turns, clips = options.turns, options.clips
    flags = ("--engine", "echomimic", "--weights", options.weights) if options.weights else ()
    async with Instant(options.seconds) as server, httpx.AsyncClient(timeout=None) as http:
        url = f"http://{server.address}/v1"
        with RunningDaemon(directory, *flags, ECHOD_OPENAI_URL=url, ECHOD_REPLY_MODEL="instant") as daemon:
            make_role(daemon, options.size)
            await asyncio.to_thread(daemon.until_idle)
            async with (
                AsyncOpenAI(base_url=f"{daemon.tcp}/v1", api_key="none") as client,
                client.realtime.connect(model="role:ada") as connection,
            ):
                talk = Talk(connection)
                print(f"{'milliseconds':48} {'p50':>8} {'p95':>8} {'max':>8}")
                await measure("a call of the test server, there and back", turns, partial(call, http, url))
                await measure("an event on the socket, there and back", turns, partial(event, talk))
                for beside in ("nothing else to do", *([] if options.weights else ["beside a long clip"])):
                    await talk.update(output_modalities=["audio"])
                    await measure(f"first sound, {beside}", turns, partial(first_sound, talk), SOUND_AIM)
                    await talk.update(output_modalities=["video"])
                    await measure(f"first picture, {beside}", clips, partial(first_picture, talk, http), PICTURE_AIM)
                    if beside == "nothing else to do" and not options.weights:
                        await asyncio.to_thread(begin_long_clip, daemon, directory)
            daemon.kill()  # it would wait for that clip


def make_role(daemon: RunningDaemon, size: str = "512x512") -> None:
    with daemon.http() as http, (EXAMPLES / "portrait.png").open("rb") as portrait:
        http.post(
            "/v1/roles", data={"name": "ada", "options[size]": size}, files={"portrait": portrait}
        ).raise_for_status()


def begin_long_clip(daemon: RunningDaemon, directory: Path) -> None:
    speech = write_wav(directory / "speech.wav", LONG_SECONDS)
    with daemon.client() as client:
        video = client.submit(EXAMPLES / "portrait.png", speech)["id"]
        next(event for event in client.follow(video) if event["video"]["echod"]["stage"] == "decode")


async def measure(name: str, count: int, once: Callable[[], Awaitable[float]], aim: float | None = None) -> None:
    """Print what it takes; `once` returns seconds."""
    for _ in range(min(WARM_UP, count)):
        await once()
    taken = sorted([1000 * await once() for _ in range(count)])
    p50, p95 = (taken[math.ceil(share * count) - 1] for share in (0.5, 0.95))
    told = "" if aim is None else f"  aim: p95 < {aim:g}{'' if p95 < aim else ', MISSED'}"
    print(f"{name:48} {p50:8.1f} {p95:8.1f} {taken[-1]:8.1f}{told}")


async def call(http: httpx.AsyncClient, url: str) -> float:
    began = time.perf_counter()
    await http.post(f"{url}/chat/completions", json={"model": "instant"})
    return time.perf_counter() - began


async def event(talk: Talk) -> float:
    began = time.perf_counter()
    await talk.update()
    return time.perf_counter() - began


async def first_sound(talk: Talk) -> float:
    began = await say(talk)
    await talk.until("response.output_audio.delta")
    taken = time.perf_counter() - began
    await talk.done()
    return taken


async def first_picture(talk: Talk, http: httpx.AsyncClient) -> float:
    began = await say(talk)
    watching = asyncio.create_task(seen(http, (await talk.until("response.output_video.added")).stream_url))
    await talk.done()  # whoever reads no events for long is sent away
    return await watching - began


async def seen(http: httpx.AsyncClient, address: str) -> float:
    """When a player would have shown a picture."""
    async with http.stream("GET", address) as stream:
        streamed = b""
        async for piece in stream.aiter_raw():
            streamed += piece
            if playable(streamed):
                break
    return time.perf_counter()


async def say(talk: Talk) -> float:
    """When the commit was sent."""
    await talk.append(UTTERANCE)
    began = time.perf_counter()
    await talk.connection.input_audio_buffer.commit()
    await talk.connection.response.create()
    return began


if __name__ == "__main__":
    main()
