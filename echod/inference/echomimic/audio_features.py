"""What the mouth follows: Whisper's encoder over the recording, and the part of it that each frame attends to.

The mel spectrogram is openai-whisper's, computed in blocks. One pass finds the loudest value of the whole recording,
which normalises it, and a second one encodes: nothing but the features grows with the recording's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from whisper.audio import N_FFT, mel_filters

from ..audio import merged
from .config import AFTER, BEFORE, CHUNK_MELS, FEATURE_RATE, HOP, SAMPLE_RATE

Sound: TypeAlias = Iterable[NDArray[np.float32]]  # blocks of 16 kHz mono samples, in order

REACH = N_FFT // 2  # samples that a mel frame sees on either side of its centre
CHUNK_SAMPLES = CHUNK_MELS * HOP
CHUNK_SECONDS = CHUNK_SAMPLES / SAMPLE_RATE
WHOLE = CHUNK_SAMPLES - HOP + N_FFT  # samples that all mel frames of a chunk see
RANGE = 8.0  # powers of ten below the loudest value that are kept


def log_mel(sound: Sound, mels: int = 80) -> Iterator[Tensor]:
    """log10 of the mel spectrogram, not normalised, (mels, frames) in chunks of 3000 frames, the last one shorter."""
    held: NDArray[np.float32] | None = None  # from REACH before the centre of the next mel frame
    for samples in merged(sound, WHOLE):
        held = np.pad(samples, (REACH, 0), "reflect") if held is None else np.concatenate([held, samples])
        while len(held) >= WHOLE:
            yield _log_mel(held[:WHOLE], mels)
            held = held[CHUNK_SAMPLES:]
    if held is not None and (frames := (len(held) - REACH) // HOP) > 0:
        yield _log_mel(np.pad(held, (0, REACH), "reflect"), mels)[:, :frames]  # whisper drops one frame at the end


def _log_mel(samples: NDArray[np.float32], mels: int) -> Tensor:
    spectrum = torch.stft(
        torch.from_numpy(samples), N_FFT, HOP, window=torch.hann_window(N_FFT), center=False, return_complex=True
    )
    filters: Tensor = mel_filters("cpu", mels)
    return (filters @ spectrum.abs() ** 2).clamp(min=1e-10).log10()


def loudest(sound: Sound, mels: int = 80) -> float:
    """The largest value of `log_mel`."""
    return max((float(chunk.max()) for chunk in log_mel(sound, mels)), default=0.0)


def normalised(chunk: Tensor, peak: float) -> Tensor:
    """What the encoder takes of `log_mel`; `peak` is the loudest value of the whole recording."""
    return (chunk.clamp(min=peak - RANGE) + 4) / 4


def encode(
    encoder: Any, sound: Callable[[], Sound], dtype: torch.dtype, tick: Callable[[int], None] = lambda chunks: None
) -> Tensor:
    """Audio features (T, layers + 1, D) on the encoder's device: 50 positions a second.

    `sound` is called twice and gives the recording from its beginning. `tick` hears how many chunks are encoded.
    """
    mels, device = encoder.conv1.in_channels, encoder.conv1.weight.device
    peak = loudest(sound(), mels)
    features = []
    for done, chunk in enumerate(log_mel(sound(), mels), 1):
        positions = chunk.shape[1] // 2
        # Zeros in the normalised spectrogram, which is not the spectrogram of silence: as the model was trained.
        mel = F.pad(normalised(chunk, peak), (0, CHUNK_MELS - chunk.shape[1]))
        features.append(hidden_states(encoder, mel.to(device, dtype))[:positions])
        tick(done)
    return torch.cat(features)


def hidden_states(encoder: Any, mel: Tensor) -> Tensor:
    """(mels, 3000) to (1500, layers + 1, D): what enters the first block and leaves each one, before the last norm."""
    x = F.gelu(encoder.conv1(mel[None]))
    x = F.gelu(encoder.conv2(x)).transpose(1, 2)
    states = [(x + encoder.positional_embedding).to(x.dtype)]
    for block in encoder.blocks:
        states.append(block(states[-1]))
    return torch.stack([state[0] for state in states], 1)


def frame_count(positions: int, fps: int) -> int:
    """How many frames the model makes for T positions: some two more than the recording has."""
    frame = max(0, int(positions * fps / FEATURE_RATE) - 1)
    while int(frame * (FEATURE_RATE / fps)) <= positions:
        frame += 1
    return frame + 1


def positions_of(frame: int, fps: int, positions: int) -> list[int]:
    """The 10 of T audio positions around a frame's time; those outside are replaced by the nearest."""
    centre = int(frame * FEATURE_RATE / fps)
    return [min(max(p, 0), positions - 1) for p in range(centre - BEFORE, centre + AFTER + 1)]


class FrameAudio:
    """What frames of a clip of N attend to, by `features` (T, layers, D) of its whole sound.

    Before them may stand frames of the clip `before`, with what those attended to, (n, 50, D). Which positions all
    these are lies on the device: a table made for every call would have the host wait for it.
    """

    def __init__(self, features: Tensor, frames: int, fps: int, before: Tensor | None = None) -> None:
        self._features, self._before = features, before
        first = 0 if before is None else -len(before)
        positions = [positions_of(max(0, frame), fps, len(features)) for frame in range(first, frames + first)]
        self._positions = torch.tensor(positions, device=features.device)  # (N, 10)

    def __call__(self, frames: Sequence[int]) -> Tensor:
        """(len(frames), 50, D) of frames in a row, after the last the first: positions first, then layers of one."""
        at = self._positions.roll(-frames[0], 0)[: len(frames)]
        heard = self._features[at].flatten(1, 2)
        if self._before is not None:
            for place, frame in enumerate(frames):
                if frame < len(self._before):
                    heard[place] = self._before[frame]
        return heard
