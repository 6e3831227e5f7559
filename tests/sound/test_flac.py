"""The file that workers read, as a voice writes it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from echod.sound.flac import SpeechFile, part_of, publish
from echod.sound.pcm import SPEAK_RATE


def test_speech_file(tmp_path: Path) -> None:
    """What is written piece by piece is published whole, and nothing else is left."""
    path = tmp_path / "speech.flac"
    with SpeechFile(path) as file:
        file.write(bytes(SPEAK_RATE))
        file.begin_again()
        for _ in range(3):
            file.write(bytes(SPEAK_RATE))
    assert (file.seconds, publish(path).seconds) == (1.5, 1.5)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("seconds", [1, 60])
def test_full_disk(tmp_path: Path, seconds: int) -> None:
    """A disk that is full tells so at the first write that it refuses or at the last, and nothing is left open."""
    path, pieces = tmp_path / "speech.flac", noise(seconds)
    part_of(path).symlink_to("/dev/full")
    open_before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError) as refused, SpeechFile(path) as file:
        for piece in pieces:
            file.write(piece)
    assert refused.value.errno == errno.ENOSPC
    assert not part_of(path).is_symlink()
    assert set(Path("/proc/self/fd").iterdir()) == open_before


def noise(seconds: int) -> list[bytes]:
    """Noise, which flac makes no smaller."""
    return [os.urandom(2 * SPEAK_RATE) for _ in range(seconds)]
