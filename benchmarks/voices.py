"""The voices of this box beside each other: how soon they are heard, how fast they speak, how well they are understood.

    python -m benchmarks.voices [--weights DIR] [--hear whisper-tiny.en.pt]

Speech goes the way it goes in the daemon, through the policy that every call goes through. `cold` is the first sentence
of a daemon that has just started, the others are of every further one. CPU time, of a sentence, says most on a box that
has other things to do too. Words are counted as understood that a Whisper checkpoint hears, in their order; where there
is none that column stays empty.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import machine
from echod.config import Settings
from echod.sound.pcm import HEAR_RATE, SPEAK_RATE
from echod.sound.resample import Resampler
from echod.speech.backend import Voice
from echod.speech.calls import Calls
from echod.speech.local.backend import Local
from tests.making.config import make_config

ENGINES = ("hibari", "piper", "espeak-ng")
ACCOUNT = "benchmark"
SENTENCES = (
    "Good evening, and thank you for coming out on such a cold night.",
    "The train to the coast leaves at half past seven from the platform on the left.",
    "Could you please tell me where I can find the library?",
    "She has taught children to read and write for more than thirty years.",
    "We bought apples, bread, and a small piece of cheese at the market.",
    "If it rains tomorrow, we will stay at home and play cards.",
    "The doctor said that he should drink more water and sleep longer.",
    "Nobody knew why the old clock in the hall had stopped during the night.",
    "Turn right after the bridge, and follow the river until you see the church.",
    "My brother works as an engineer in a factory that builds wind turbines.",
    "There is a letter for you on the kitchen table.",
    "The museum is closed on Mondays, but the garden is always open.",
    "He put the keys into his pocket and walked slowly down the stairs.",
    "A plane flies because the air pushes its wings up while it moves forward.",
    "They have lived in the same house since they were married.",
    "I would like a cup of tea with milk, but without sugar.",
    "The children laughed when the dog ran off with the blue hat.",
    "After the storm the streets were full of leaves and broken branches.",
)


class Row(NamedTuple):
    """One voice; milliseconds to the first sound and of CPU time, seconds of speech a second, words understood."""

    voice: Voice
    cold: float
    warm: list[float]
    cpu: float
    speed: float
    understood: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="where further voices are, in voices/")
    parser.add_argument("--hear", type=Path, help="a Whisper checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(run(options.weights.absolute(), options.hear and options.hear.absolute(), options.rounds))


async def run(weights: Path, hear: Path | None, rounds: int) -> None:
    print(machine())
    total = sum(len(words(sentence)) for sentence in SENTENCES)
    print(f"{len(SENTENCES)} sentences, {total} words, {rounds} rounds")
    print(f"{'first sound, ms':42}{'cold':>6}{'p50':>7}{'p95':>7}{'CPU':>7}   x real time   understood")
    async for row in rows(weights, hear, rounds):
        warm = sorted(row.warm)
        understood = "" if row.understood is None else f"{100 * row.understood / total:10.1f} %"
        print(
            f"{row.voice!s:42}{row.cold:6.0f}{statistics.median(warm):7.0f}{warm[int(0.95 * len(warm))]:7.0f}"
            f"{row.cpu:7.0f}{row.speed:14.0f} {understood:>12}"
        )


async def rows(weights: Path, hear: Path | None, rounds: int) -> AsyncIterator[Row]:
    for engine in ENGINES:
        local = Local(weights)
        voices = [voice for voice in await local.voices() if voice.model == engine]
        await local.close()
        english = [voice for voice in voices if engine != "espeak-ng" or voice.name == "en-us"]
        for voice in english:
            yield await measure(voice, weights, hear, rounds)


async def measure(voice: Voice, weights: Path, hear: Path | None, rounds: int) -> Row:
    with tempfile.TemporaryDirectory() as directory:
        config = make_config(Path(directory), weights_dir=weights, hear_model=str(hear or ""))
        local = Local(weights)
        calls = Calls(Settings(config), {"local": local}, {"speak": "local", "hear": "local"})
        try:
            cold, _, _ = await speak(calls, voice, SENTENCES[0])
            before = cpu_seconds(local)
            spoken = [await speak(calls, voice, sentence) for _ in range(rounds) for sentence in SENTENCES]
            cpu = 1000 * (cpu_seconds(local) - before) / len(spoken)
            understood = await heard(calls, spoken[: len(SENTENCES)]) if hear else None
        finally:
            await local.close()
    seconds = sum(len(sound) for _, _, sound in spoken) / 2 / SPEAK_RATE
    took = sum(total for _, total, _ in spoken) / 1000
    return Row(voice, cold, [first for first, _, _ in spoken], cpu, seconds / took, understood)


async def speak(calls: Calls, voice: Voice, sentence: str) -> tuple[float, float, bytes]:
    """Milliseconds to the first sound and to the last, and the sound."""
    began, first, sound = time.perf_counter(), 0.0, b""
    async with aclosing(calls.speak(sentence, voice, account=ACCOUNT)) as pieces:
        async for piece in pieces:
            first = first or time.perf_counter() - began
            sound += piece
    return 1000 * first, 1000 * (time.perf_counter() - began), sound


def cpu_seconds(local: Local) -> float:
    """Of the child that keeps voices loaded, and of all programs that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    if child := local._voices._models.pid:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return total


async def heard(calls: Calls, spoken: list[tuple[float, float, bytes]]) -> int:
    understood = 0
    for sentence, (_, _, sound) in zip(SENTENCES, spoken, strict=True):
        resampler = Resampler(SPEAK_RATE, HEAR_RATE)
        transcript = await calls.hear(resampler.feed(sound) + resampler.flush(), account=ACCOUNT, language="en")
        matcher = SequenceMatcher(None, words(sentence), words(transcript), autojunk=False)
        understood += sum(block.size for block in matcher.get_matching_blocks())
    return understood


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


if __name__ == "__main__":
    main()
