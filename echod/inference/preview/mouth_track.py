"""What the speech does to the mouth: opening and rounding from band energies, 100 times a second."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray

from ..audio import RATE, Speech, merged
from ..contract import Checkpoint

TICKS = 100  # per second
HOP = RATE // TICKS  # 160 samples
WINDOW = 400  # samples: 25 ms
BANDS = ((60, 3500), (60, 900), (900, 3000))  # Hz: voice without hiss, vowels' first resonance, second resonance
RANGE_DB = 32.0  # from mouth shut to wide open
CONTRAST = 1.4  # exponent of the opening: consonants are tighter than their loudness
NOISE_MARGIN_DB = 4.0  # a noisy room does not hold the mouth open
SILENCE_DB = -65.0  # full scale: never opens below
SMOOTHING = 2.5  # ticks: lips are heavier than sound
PAUSE_DB = 22.0  # below the loud parts: breath, hiss and the room's answer
PAUSE = 20  # ticks that quiet; shorter ones are closures inside words


@dataclass(frozen=True)
class MouthTrack:
    """Opening and rounding per frame, 0..1, and whether the speech pauses; (frames,) each."""

    opening: NDArray[np.float32]
    rounding: NDArray[np.float32]
    in_pause: NDArray[np.bool_]


def read_mouth(speech: Speech, fps: int, frames: int, checkpoint: Checkpoint) -> MouthTrack:
    """Follow the speech once through; the first frame's middle is half a frame after the speech's beginning."""
    energies = _band_energies(speech, checkpoint)
    decibels = 10 * np.log10(energies + 1e-10)
    noise, loud = np.percentile(decibels[:, 0], (10, 95))
    floor = max(loud - RANGE_DB, min(noise + NOISE_MARGIN_DB, loud - RANGE_DB / 2), SILENCE_DB)
    opening = np.clip((decibels[:, 0] - floor) / max(loud - floor, 1.0), 0, 1) ** CONTRAST
    paused = in_pause(decibels[:, 0] < max(floor, loud - PAUSE_DB))
    opening[paused] = 0
    dullness = decibels[:, 1] - decibels[:, 2]  # "oo" and "oh" have little above 900 Hz
    low, high = np.percentile(dullness[opening > 0.3], (20, 90)) if (opening > 0.3).any() else (0.0, 1.0)
    rounding = np.clip((dullness - low) / max(high - low, 1.0), 0, 1) * np.minimum(1, 2 * opening)
    at = np.minimum(_middles(fps, frames).astype(np.intp), len(paused) - 1)
    return MouthTrack(_per_frame(opening, fps, frames), _per_frame(rounding, fps, frames), paused[at])


def in_pause(quiet: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(ticks,) where it stays quiet for at least PAUSE ticks; beginning and end of the speech count as quiet."""
    padded = np.concatenate((np.ones(PAUSE), quiet, np.ones(PAUSE))).astype(np.uint8)[None]
    return cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((1, PAUSE), np.uint8))[0, PAUSE:-PAUSE].astype(bool)


def _band_energies(speech: Speech, checkpoint: Checkpoint) -> NDArray[np.float64]:
    """Mean power per tick and band, (ticks, bands); a tick's window is centred on it."""
    rows: list[NDArray[np.float64]] = []
    seconds = max(1, round(speech.seconds))
    pending = np.zeros(WINDOW // 2, np.float32)
    whole = chain(speech.blocks(), [np.zeros(WINDOW, np.float32)])  # so that a window fits at the end
    for second, block in enumerate(merged(whole, RATE)):
        checkpoint("audio", min(second, seconds - 1), seconds)
        pending = np.concatenate((pending, block))
        windows = np.lib.stride_tricks.sliding_window_view(pending, WINDOW)[::HOP]
        rows.append(_power(windows) @ _BAND_SUMS)
        pending = pending[len(windows) * HOP :]
    checkpoint("audio", seconds, seconds)
    return np.concatenate(rows)


def _band_sums() -> NDArray[np.float64]:
    """(frequencies, bands): 1 where the frequency belongs to the band."""
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    return np.stack([(frequencies >= low) & (frequencies < high) for low, high in BANDS], axis=1).astype(np.float64)


_BAND_SUMS = _band_sums()
_TAPER = np.hanning(WINDOW)


def _power(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """(ticks, WINDOW) samples to (ticks, frequencies) power; the sum over frequencies is the mean square."""
    return np.asarray(np.abs(np.fft.rfft(windows * _TAPER)) ** 2 * (2 / (WINDOW * (_TAPER**2).sum())))


def _per_frame(track: NDArray[np.float64], fps: int, frames: int) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(track[None], (0, 0), SMOOTHING, borderType=cv2.BORDER_REPLICATE)[0]
    return np.asarray(np.interp(_middles(fps, frames), np.arange(len(smooth)), smooth), np.float32)


def _middles(fps: int, frames: int) -> NDArray[np.float64]:
    """Ticks in the middle of each frame."""
    return (np.arange(frames) + 0.5) * TICKS / fps
