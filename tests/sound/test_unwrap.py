"""WAV headers put on and taken off."""

from __future__ import annotations

import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.sound.pcm import SPEAK_RATE, wav
from echod.sound.unwrap import MAX_HEAD, Unwrapper

SOUND = array("h", range(100)).tobytes()
WAV = wav(SOUND, SPEAK_RATE)
HEADER = WAV[: -len(SOUND)]


def unwrapped(sound: bytes, size: int = 2**16, rate: int = SPEAK_RATE) -> bytes:
    stream = Unwrapper(rate)
    return b"".join(stream.feed(sound[start : start + size]) for start in range(0, len(sound), size)) + stream.flush()


def form(kind: int = 1, channels: int = 1, rate: int = SPEAK_RATE, bits: int = 16, more: bytes = b"") -> bytes:
    """A WAV file with this format."""
    content = struct.pack("<HHIIHH", kind, channels, rate, 0, 0, bits) + more
    return b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", len(content)) + content + b"data\0\0\0\0" + SOUND


@given(st.integers(1, len(WAV) + 1), st.sampled_from([WAV, SOUND, WAV + b"LIST\x04\0\0\0tail", form(), WAV + b"\0"]))
def test_pieces_of_any_size(size: int, stream: bytes) -> None:
    """The sound is found however the stream is chopped up: bare, or in a WAV of known or unknown length."""
    assert unwrapped(stream, size) == SOUND


def test_other_chunks_before_the_sound() -> None:
    """Chunks that are not sound are passed over, also those of odd length."""
    assert unwrapped(HEADER[:36] + b"LIST\x03\0\0\0abc\0" + HEADER[36:] + SOUND) == SOUND


def test_rate_of_the_header() -> None:
    """A header's rate counts for more than the one that was expected."""
    assert unwrapped(form(rate=SPEAK_RATE), rate=8000) == SOUND
    assert len(unwrapped(form(rate=8000))) == 3 * len(SOUND)


def test_extensible() -> None:
    """Plain pcm may be declared in the long form."""
    assert unwrapped(form(kind=0xFFFE, more=b"\x16\0\x10\0\x04\0\0\0\x01\0" + bytes(14))) == SOUND


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (b"ID3\x04 and so on", "compressed"),
        (b"OggS and so on", "compressed"),
        (form(channels=2), "16 bits, 2 channels, 24000 Hz"),
        (form(kind=3, bits=32), "kind 3: 32 bits"),
        (form(rate=0), "0 Hz"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0\x01\0\x01\0data\0\0\0\0", "broken header"),
        (b"RIFF\0\0\0\0WAVE" + (b"LIST\x10\0\0\0" + bytes(16)) * MAX_HEAD, "without sound"),
    ],
)
def test_other_streams(stream: bytes, what: str) -> None:
    """What is not pcm16, mono is said to be what it is."""
    with pytest.raises(ValueError, match=what):
        unwrapped(stream)
