from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from echod.conversation.ear import BYTES_PER_MS, INPUT_RATE, SECOND, Ear, SpeechStarted, SpeechStopped, TurnDetection

EXAMPLE = Path(__file__).parents[2] / "examples/speech.wav"


@pytest.fixture(scope="module")
def speech() -> bytes:
    """Somebody speaking, as clients send it: pcm16, mono, 24 kHz."""
    resampler, pieces = AudioResampler("s16", "mono", INPUT_RATE), []
    with av.open(str(EXAMPLE)) as container:
        for frame in container.decode(audio=0):
            assert isinstance(frame, AudioFrame)
            pieces += [part.to_ndarray().tobytes() for part in resampler.resample(frame)]
    return b"".join(pieces)


def quiet(seconds: float) -> bytes:
    return bytes(2 * int(seconds * INPUT_RATE))


def noticed(ear: Ear, sound: bytes, piece: int = 4800) -> list[SpeechStarted | SpeechStopped]:
    found = []
    for start in range(0, len(sound), piece):
        found += ear.feed(sound[start : start + piece])
    return found


def test_an_utterance(speech: bytes) -> None:
    """Speech between silences is noticed at both ends, and taken with a little before it."""
    found = noticed(Ear(TurnDetection(silence_duration_ms=1500)), quiet(2) + speech + quiet(3))
    assert [type(each) for each in found] == [SpeechStarted, SpeechStopped]
    began, stopped = found
    assert isinstance(stopped, SpeechStopped)
    assert 1500 <= began.ms <= 2300
    assert 2000 + len(speech) / SECOND * 1000 - 700 <= stopped.ms - 1500 <= 2000 + len(speech) / SECOND * 1000 + 500
    assert len(stopped.sound) / BYTES_PER_MS == pytest.approx(stopped.ms - began.ms, abs=40)


def test_however_it_is_cut(speech: bytes) -> None:
    """What is noticed does not depend on how the sound came."""
    sound, rng = quiet(0.7) + speech + quiet(2) + speech + quiet(2), random.Random(7)
    whole = noticed(Ear(TurnDetection()), sound, len(sound))
    assert [type(each) for each in whole] == [SpeechStarted, SpeechStopped] * (len(whole) // 2) and len(whole) >= 4
    for piece in (480, 4800, 2 * rng.randrange(1000, 40_000)):
        assert noticed(Ear(TurnDetection()), sound, piece) == whole


def test_noise_is_no_speech() -> None:
    """Neither hiss nor a click begins an utterance, and nothing piles up meanwhile."""
    rng = np.random.default_rng(3)
    hiss = (rng.normal(0, 800, INPUT_RATE * 5)).astype("<i2").tobytes()
    click = quiet(0.5) + b"\xff\x7f" * 200 + quiet(0.5)
    ear = Ear(TurnDetection())
    assert noticed(ear, hiss + click) == []
    assert ear.kept_ms < 600


def test_push_to_talk(speech: bytes) -> None:
    """Without detection all that came is kept until it is taken, once."""
    ear = Ear()
    assert noticed(ear, speech) == []
    assert ear.kept_ms == pytest.approx(1000 * len(speech) / SECOND, abs=20)
    assert len(ear.take()) == pytest.approx(len(speech) * 2 / 3, abs=800)
    assert ear.kept_ms == 0 and ear.take() == b""


def test_changing_one_s_mind(speech: bytes) -> None:
    """Detection can be turned on and off; what was kept before is still there."""
    ear = Ear()
    ear.feed(quiet(0.2))
    ear.detect(TurnDetection())
    assert [type(each) for each in noticed(ear, quiet(1) + speech + quiet(1))][:1] == [SpeechStarted]
    ear.detect(None)
    assert noticed(ear, speech + quiet(2)) == []
    assert ear.kept_ms > 2000


def test_detectors_are_reused(speech: bytes) -> None:
    """A detector that is given back starts afresh: the next ear notices the same."""
    first = Ear(TurnDetection())
    found = noticed(first, quiet(1) + speech + quiet(1))
    first.close()
    assert noticed(Ear(TurnDetection()), quiet(1) + speech + quiet(1)) == found


@pytest.mark.parametrize("end", [Ear.take, Ear.clear])
def test_half_a_sample(speech: bytes, end: Callable[[Ear], object]) -> None:
    """One left over from an utterance, taken or dropped, does not shift the bytes of the next."""
    fresh, used = Ear(), Ear()
    used.feed(speech[:4801])
    end(used)
    for ear in (fresh, used):
        ear.feed(speech)
    assert used.take() == fresh.take()


def test_taken_to_its_end(speech: bytes) -> None:
    """An utterance has all the sound that came, up to the last sample."""
    ear = Ear()
    ear.feed(speech)
    assert len(ear.take()) == pytest.approx(len(speech) * 2 / 3, abs=2)
