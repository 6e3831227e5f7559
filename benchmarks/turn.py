"""A spoken turn with the parts of this box: Whisper hears, the script or SmolLM2 replies, a local voice speaks.

    python -m benchmarks.turn --hear whisper-tiny.en.pt [--turns 7] [--wait 20]

Milliseconds from the last sample of a question that is spoken in real time, so many seconds after the session opened:
until its transcript, the reply's first word, its first sound, and the first fragment of its clip that plays. `cold` is
the first turn of a daemon that has just started, `warm` the median of those after it. Each row has a daemon of its own,
with one CPU worker and the preview engine at 512x512.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import httpx
from openai import AsyncOpenAI

from benchmarks.conversation import make_role
from benchmarks.machine import machine
from echod.sound.pcm import SPEAK_RATE
from echod.speech.backend import Call
from echod.speech.local.backend import SCRIPTED, Local
from echod.speech.local.smollm import SMOLLM
from tests.drivers.running import RunningDaemon
from tests.drivers.talking import Talk
from tests.making.speech import words

QUESTION = "Why does a wing lift?"
PIECE = 0.1  # seconds of it sent at once
AIM = 600.0  # milliseconds from the transcript to the first sound, warm, of a mind that answers at once
EVENTS = {
    "conversation.item.input_audio_transcription.completed": "transcript",
    "response.output_audio_transcript.delta": "word",
    "response.output_audio.delta": "sound",
    "response.output_video.added": "frame",
}


class Timed(NamedTuple):
    """Milliseconds from the last sample of the question."""

    transcript: float
    word: float
    shown: float  # sound, or a fragment of the clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hear", type=Path, required=True, help="a Whisper checkpoint")
    parser.add_argument("--turns", type=int, default=7, help="warm turns of each row")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds before the first word is spoken")
    options = parser.parse_args()
    asyncio.run(run(options.hear.absolute(), options.turns, options.wait))


async def run(hear: Path, turns: int, wait: float) -> None:
    print(machine())
    local = Local(Path())
    found = [voice for voice in await local.voices() if voice.model in ("hibari", "piper")]
    speech = local.speak(words(QUESTION), found[0], Call(model=""))
    async with aclosing(speech) as pieces:
        question = b"".join([piece async for piece in pieces])
    await local.close()
    print(f"{'':52}{'cold':>8}{'warm':>8}   aim")
    for voice in found:
        for mind in (SCRIPTED, SMOLLM):
            for modality in ("audio", "video"):
                with tempfile.TemporaryDirectory() as directory:
                    settings = {"HEAR_MODEL": str(hear), "REPLY_MODEL": mind, "VOICE": str(voice)}
                    environ = {f"ECHOD_{name}": value for name, value in settings.items()}
                    with RunningDaemon(Path(directory), **environ) as daemon:
                        cold, *warm = await talk(daemon, question, modality, turns, wait)
                show(f"{mind}, {voice.model}", modality, cold, warm, mind == SCRIPTED)


async def talk(daemon: RunningDaemon, question: bytes, modality: str, turns: int, wait: float) -> list[Timed]:
    make_role(daemon)
    await asyncio.to_thread(daemon.until_idle)
    async with (
        httpx.AsyncClient() as http,
        AsyncOpenAI(base_url=f"{daemon.tcp}/v1", api_key="none") as client,
        client.realtime.connect(model="role:ada") as connection,
    ):
        person = Talk(connection)
        await person.update(output_modalities=[modality], audio={"input": {"turn_detection": None}})
        await asyncio.sleep(wait)
        return [await turn(person, http, question, modality) for _ in range(1 + turns)]


async def turn(person: Talk, http: httpx.AsyncClient, question: bytes, modality: str) -> Timed:
    size = 2 * int(PIECE * SPEAK_RATE)
    for start in range(0, len(question), size):
        await person.append(question[start : start + size])
        await asyncio.sleep(PIECE)
    began = time.perf_counter()
    await person.connection.input_audio_buffer.commit()
    await person.connection.response.create()
    times: dict[str, float] = {}
    last = "sound" if modality == "audio" else "frame"
    while last not in times or "transcript" not in times:
        event = await person.connection.recv()
        assert event.type != "error", event
        if (what := EVENTS.get(event.type)) and what not in times:
            if what == "frame":
                await first_fragment(http, event.stream_url)  # type: ignore[union-attr]  # an event of ours
            times[what] = 1000 * (time.perf_counter() - began)
    await person.done()
    return Timed(times["transcript"], times["word"], times[last])


async def first_fragment(http: httpx.AsyncClient, address: str) -> None:
    async with http.stream("GET", address) as stream:
        streamed = b""
        async for piece in stream.aiter_raw():
            streamed += piece
            if b"mdat" in streamed:
                return


def show(name: str, modality: str, cold: Timed, warm: list[Timed], answers_at_once: bool) -> None:
    """The words of a turn with pictures come as those of one with sound do."""
    last = "first sound" if modality == "audio" else "first fragment"
    rows = {"transcript": (0, modality == "audio"), "first word": (1, modality == "audio"), last: (2, True)}
    for what, (place, wanted) in rows.items():
        if wanted:
            median = statistics.median(each[place] for each in warm)
            print(f"{f'{name}: {what}':52}{cold[place]:8.0f}{median:8.0f}")
    after = statistics.median(each.shown - each.transcript for each in warm)
    told = f"   < {AIM:.0f}{'' if after < AIM else ', MISSED'}" if answers_at_once and modality == "audio" else ""
    print(f"{f'{name}: {last} after the transcript':52}{cold.shown - cold.transcript:8.0f}{after:8.0f}{told}")


if __name__ == "__main__":
    main()
