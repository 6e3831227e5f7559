"""Resampling, as a stream."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.sound.pcm import SPEAK_RATE
from echod.sound.resample import Resampler

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 24_001, 44_100, 48_000]


def sine(rate: int, samples: int, hertz: float = 440.0) -> bytes:
    return (20_000 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)).astype("<i2").tobytes()


def resampled(sound: bytes, rate: int, sizes: list[int]) -> bytes:
    resampler = Resampler(rate)
    out, at = b"", 0
    for size in cycle(sizes):
        if at >= len(sound):
            return out + resampler.flush()
        piece = resampler.feed(sound[at : at + size])
        assert len(piece) % 2 == 0
        out, at = out + piece, at + size
    raise AssertionError("no sizes")


def samples(sound: bytes) -> npt.NDArray[np.float64]:
    return np.frombuffer(sound, "<i2").astype(float)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("count", [0, 1, 7, 1_000, 100_003])
def test_length(rate: int, count: int) -> None:
    """As many samples come out as the two rates say, however few went in."""
    assert len(resampled(sine(rate, count), rate, [999])) == 2 * round(count * SPEAK_RATE / rate)


@pytest.mark.parametrize("rate", RATES)
def test_same_tone(rate: int) -> None:
    """A tone stays the tone it was, at its place in time."""
    expected = samples(sine(SPEAK_RATE, SPEAK_RATE))
    heard = samples(resampled(sine(rate, rate), rate, [4096]))
    inner = slice(200, -200)  # the filter meets silence at both ends
    assert np.abs(heard[inner] - expected[inner]).max() < 200  # of 20,000


def test_no_alias() -> None:
    """What lies above the new rate's half is gone, not folded down."""
    heard = samples(resampled(sine(48_000, 48_000, hertz=20_000.0), 48_000, [4096]))
    assert np.abs(heard[200:-200]).max() < 200


@pytest.mark.parametrize("rate", [22_050, SPEAK_RATE])
@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 3_000), min_size=1, max_size=5))
def test_pieces_do_not_matter(rate: int, sizes: list[int]) -> None:
    """However the sound is chopped, within a sample too, the same comes out."""
    sound = sine(rate, 2_000)
    assert resampled(sound, rate, sizes) == resampled(sound, rate, [len(sound)])


def test_same_rate() -> None:
    """At the same rate the bytes stay as they are and come at once; half a sample at the end is dropped."""
    resampler = Resampler(SPEAK_RATE)
    assert resampler.feed(b"abc") == b"ab"
    assert resampler.feed(b"def") == b"cdef"
    assert resampler.feed(b"g") == b""
    assert resampler.flush() == b""


def test_ten_minutes() -> None:
    """Rounding does not add up."""
    resampler, out = Resampler(22_050), 0
    for _ in range(600):
        out += len(resampler.feed(sine(22_050, 22_051)))
    assert out + len(resampler.flush()) == 2 * round(600 * 22_051 * 24_000 / 22_050)
