from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from echod.inference.audio import Speech
from echod.inference.errors import InputError
from tests.making.media import write_picture, write_wav


def heard(path: Path) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.concatenate(list(Speech.open(path).blocks()))


def test_16_khz_samples_come_through_unchanged(tmp_path: Path) -> None:
    """A 16 kHz mono recording is read sample by sample, divided by 32768."""
    path = write_wav(tmp_path / "tone.wav", seconds=0.7)
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    np.testing.assert_array_equal(heard(path), samples / np.float32(32768))


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_facts_are_counted_at_the_recordings_own_rate(tmp_path: Path, rate: int) -> None:
    """Seconds, rate and channels are the recording's; the inner copy lasts equally long."""
    path = write_wav(tmp_path / "tone.wav", seconds=2, rate=rate)
    speech = Speech.open(path)
    assert (speech.seconds, speech.rate, speech.channels) == (2, rate, 1)
    assert len(heard(path)) == pytest.approx(32000, abs=20)


def test_blocks_are_bounded(tmp_path: Path) -> None:
    """Twenty seconds arrive in small blocks, so that memory does not depend on the length."""
    speech = Speech.open(write_wav(tmp_path / "long.wav", seconds=20))
    sizes = [len(block) for block in speech.blocks()]
    assert sum(sizes) == 320_000
    assert max(sizes) <= 16_000


def test_too_short(tmp_path: Path) -> None:
    """Less than a tenth of a second is refused with both figures."""
    path = write_wav(tmp_path / "blip.wav", seconds=0.05)
    with pytest.raises(InputError, match=r"0\.05 s.*0\.1 s") as caught:
        Speech.open(path)
    assert caught.value.code == "speech_too_short"


@pytest.mark.parametrize("content", [b"", b"no sound at all", "picture"])
def test_unreadable(tmp_path: Path, content: bytes | str) -> None:
    """What holds no sound is refused, whatever it is."""
    path = tmp_path / "speech.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_picture(tmp_path / "picture.png").rename(path)
    with pytest.raises(InputError) as caught:
        Speech.open(path)
    assert caught.value.code == "speech_unreadable"


@pytest.mark.parametrize("name", ["audio", "audio_44k_stereo"])
def test_reads_what_echomimic_reads(assets: Path, name: str) -> None:
    """The 16 kHz samples are those that the EchoMimic authors' decoding gave."""
    expected = load_file(assets / "golden/dev/audio.safetensors")[f"{name}.pcm"]
    samples = heard(assets / f"golden/dev/inputs/{name}.wav")
    assert len(samples) == len(expected)
    np.testing.assert_allclose(samples, expected, atol=1 / 32768)
