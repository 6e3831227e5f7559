"""What is said, cut into pieces: whole frames, at pauses where there are any, and no sample lost or added."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from echod.conversation.detector import Detector
from echod.server.avatar.cutting import LEAST, MOST, SECOND, Segment
from echod.sound.pcm import SPEAK_RATE
from echod.sound.resample import Resampler
from tests.making.media import EXAMPLES


@pytest.fixture(scope="module")
def speech() -> bytes:
    with wave.open(str(EXAMPLES / "speech.wav")) as file:
        resampler = Resampler(file.getframerate())
        return resampler.feed(file.readframes(file.getnframes())) + resampler.flush()


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Detector:
    """Hears a voice in all that is not silent."""
    monkeypatch.setattr(Detector, "voice_in", lambda self, window: float(any(window)))
    return Detector()


def loud(seconds: float) -> bytes:
    return b"\1\1" * round(seconds * SPEAK_RATE)


def silent(seconds: float) -> bytes:
    return bytes(2 * round(seconds * SPEAK_RATE))


def pieces(segment: Segment, detector: Detector) -> list[bytes]:
    """All that can be cut now."""
    cut = []
    while (piece := segment.cut(detector)) is not None:
        cut.append(piece)
    return cut


def seconds(cut: list[bytes]) -> list[float]:
    return [len(piece) / SECOND for piece in cut]


def test_at_pauses(detector: Detector) -> None:
    """In the middle of the first pause that is late enough."""
    segment = Segment(0, SPEAK_RATE, 24)
    segment.feed(loud(0.5) + silent(0.3) + loud(1.0) + silent(0.4) + loud(3))
    [first] = pieces(segment, detector)
    assert 1.85 < len(first) / SECOND < 2.05 and not any(first[-2000:])


def test_the_first_piece_does_not_wait(detector: Detector) -> None:
    """It is cut as soon as it may be; later ones wait for a pause, or until they are too long."""
    segment = Segment(0, SPEAK_RATE, 24)
    segment.feed(loud(1.0))
    assert segment.cut(detector) is None
    segment.feed(loud(0.25))
    [first] = seconds(pieces(segment, detector))
    assert LEAST <= first < 1.26
    segment.feed(loud(3.0))
    assert segment.cut(detector) is None
    segment.feed(loud(2.0))
    [second] = seconds(pieces(segment, detector))
    assert LEAST <= second <= MOST


def test_a_long_piece_ends_where_it_is_quietest(detector: Detector) -> None:
    segment = Segment(0, SPEAK_RATE, 24)
    quiet = b"\1\0" * round(0.1 * SPEAK_RATE)
    segment.feed(loud(2.0) + quiet + loud(6.0))
    first = pieces(segment, detector)[0]
    assert 1.95 < len(first) / SECOND < 2.15


@pytest.mark.parametrize(
    ("rate", "fps", "minutes"), [(22_050, 24, 10), (8_000, 1, 1), (16_000, 25, 1), (24_000, 12, 1), (48_000, 60, 1)]
)
def test_no_drift(detector: Detector, rate: int, fps: int, minutes: int) -> None:
    """What was said, in whatever portions it comes, is as many frames and samples as its minutes have."""
    segment, cut, chances = Segment(0, rate, fps), [], np.random.default_rng(rate + fps)
    noise = chances.integers(1, 9, 10 * rate).astype("<i2")
    noise[3 * rate : 4 * rate] = 0
    left = memoryview(noise.tobytes() * 6 * minutes)
    while left:
        size = int(chances.integers(1, 100_000))
        segment.feed(bytes(left[:size]))
        left = left[size:]
        cut += pieces(segment, detector)
    segment.finish()
    cut += pieces(segment, detector)
    assert segment.done and segment.frames == 60 * minutes * fps
    assert sum(map(len, cut)) == 60 * minutes * SECOND
    assert all(len(piece) % (SECOND // fps) == 0 and len(piece) <= MOST * SECOND for piece in cut)
    assert all(len(piece) >= LEAST * SECOND for piece in cut[:-1])


def test_the_end(detector: Detector) -> None:
    """The rest is made whole frames with silence, and long enough for a clip; without sound there is none."""
    segment = Segment(0, SPEAK_RATE, 24)
    segment.feed(loud(0.05))
    segment.finish()
    [last] = pieces(segment, detector)
    assert last.startswith(loud(0.05)) and len(last) == 5 * SECOND // 24 and segment.done
    empty = Segment(1, SPEAK_RATE, 24)
    empty.finish()
    assert empty.done and pieces(empty, detector) == []


def test_real_speech(speech: bytes) -> None:
    """The detector finds the pauses of a recording: what is cut is heard as it was."""
    segment = Segment(0, SPEAK_RATE, 24)
    segment.feed(speech)
    segment.finish()
    cut = pieces(segment, Detector())
    assert b"".join(cut)[: len(speech)] == speech and len(cut) > 2
    loudness = np.abs(np.frombuffer(speech, "<i2").astype(float)).mean()
    for piece in cut[1:-1]:
        assert np.abs(np.frombuffer(piece[-2400:], "<i2").astype(float)).mean() < loudness / 2
