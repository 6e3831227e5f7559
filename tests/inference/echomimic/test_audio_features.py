from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from whisper.audio import log_mel_spectrogram

from echod.inference.echomimic import audio_features
from echod.inference.echomimic.weights import Models

CHUNK = audio_features.CHUNK_SAMPLES


def sound(samples: int) -> NDArray[np.float32]:
    """Noise that is loudest near its end, so that a norm taken too early would show."""
    drawn = np.random.default_rng(samples).standard_normal(samples)
    return (0.1 * drawn * np.linspace(0.01, 1, samples)).astype(np.float32)


def in_blocks(samples: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    return (samples[at : at + size] for at in range(0, len(samples), size))


@pytest.mark.parametrize(
    "samples",
    [1600, 16_001, 24_159, CHUNK - 240, CHUNK - 1, CHUNK, CHUNK + 39, CHUNK + 40, CHUNK + 200, 2 * CHUNK + 7777],
)
@pytest.mark.parametrize("size", [1024, 700_001])
def test_mel_in_blocks_is_whispers(samples: int, size: int) -> None:
    """Computed a piece at a time, of blocks of any size, the spectrogram equals whisper's of the whole recording."""
    recording = sound(samples)
    expected = log_mel_spectrogram(torch.from_numpy(recording))
    peak = audio_features.loudest(in_blocks(recording, size))
    chunks = list(audio_features.log_mel(in_blocks(recording, size)))
    assert all(chunk.shape[1] == 3000 for chunk in chunks[:-1])
    made = torch.cat([audio_features.normalised(chunk, peak) for chunk in chunks], 1)
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-6)


@torch.inference_mode()
def test_chunks_are_encoded_on_their_own(models: Models) -> None:
    """50 positions a second over chunk borders; each chunk is encoded alone, the last one padded with zeros."""
    recording, ticks = sound(CHUNK + 48_000), list[int]()
    made = audio_features.encode(models.whisper, lambda: in_blocks(recording, 4096), torch.float32, ticks.append)
    width = models.config.whisper.n_audio_state
    assert made.shape == (1650, 5, width)
    assert ticks == [1, 2]
    mel = log_mel_spectrogram(torch.from_numpy(recording))
    last = torch.zeros(80, 3000)
    last[:, :300] = mel[:, 3000:]
    torch.testing.assert_close(made[1500:], audio_features.hidden_states(models.whisper, last)[:150], rtol=0, atol=1e-4)
    encoded = models.whisper.ln_post(made[:1500, -1])
    torch.testing.assert_close(encoded[None], models.whisper(mel[None, :, :3000]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("fps", [1, 12, 24, 25, 30, 60])
@pytest.mark.parametrize("positions", [1, 5, 49, 500, 501, 1565])
def test_frame_count(positions: int, fps: int) -> None:
    """One more than the first frame whose time lies beyond the recording: enough for all of it, at every rate."""
    frame = 0
    while int(frame * (50 / fps)) <= positions:
        frame += 1
    assert audio_features.frame_count(positions, fps) == frame + 1


def test_frames_attend_to_what_is_near() -> None:
    """A frame hears 4 positions before and 5 after its own, all layers of one position first; ends are repeated."""
    features = torch.arange(20 * 5 * 2.0).view(20, 5, 2)
    heard = audio_features.FrameAudio(features, 10, 25)(range(10))[[0, 4, 9]]
    assert heard.shape == (3, 50, 2)
    assert torch.equal(heard[1], features[4:14].flatten(0, 1))
    assert torch.equal(heard[0], features[[0, 0, 0, 0, 0, 1, 2, 3, 4, 5]].flatten(0, 1))
    assert torch.equal(heard[2], features[[14, 15, 16, 17, 18, 19, 19, 19, 19, 19]].flatten(0, 1))


def test_frames_of_a_window_that_wraps() -> None:
    """Behind the clip's last frame comes its first."""
    heard = audio_features.FrameAudio(torch.arange(20.0).view(20, 1, 1), 10, 25)
    assert torch.equal(heard([8, 9, 0]), heard(range(10))[[8, 9, 0]])
