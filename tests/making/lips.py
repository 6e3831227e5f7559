"""Measures how far a mouth is open in pictures, and how that goes with the speech."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from echod.inference import face
from echod.inference.audio import RATE, Speech
from echod.inference.preview import mesh


def mouth_openings(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Gap between the inner lips over face height, the mesh found anew in every frame."""
    box = face.find_faces(frames[0])[0].box
    points = np.stack([mesh.find_landmarks(frame, box) for frame in frames])
    gap = np.linalg.norm(points[:, 13] - points[:, 14], axis=1)
    return np.asarray(gap / np.linalg.norm(points[:, mesh.FOREHEAD] - points[:, mesh.CHIN], axis=1))


def log_rms(speech: Speech, fps: int, frames: int) -> NDArray[np.float64]:
    samples = np.concatenate(list(speech.blocks()))
    edges = np.arange(frames + 1) * RATE // fps
    parts = [samples[start:end] for start, end in itertools.pairwise(edges)]
    return np.log([np.sqrt(np.mean(part**2)) + 1e-4 for part in parts if part.size])


def correlation_at(lag: int, openings: NDArray[np.float64], loudness: NDArray[np.float64]) -> float:
    """Pearson, the mouth `lag` frames late."""
    count = min(len(openings), len(loudness))
    late, early = max(lag, 0), max(-lag, 0)
    return float(np.corrcoef(openings[late : count - early], loudness[early : count - late])[0, 1])
