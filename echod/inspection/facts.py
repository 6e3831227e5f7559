"""What inspection found in what a client sent."""

from __future__ import annotations

import msgspec


class PortraitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What inspection found in a picture: pixels, faces seen, the largest one's box (x0, y0, x1, y1) at full size.

    `boxes` are those of all faces, from left to right; empty in what was inspected before they were kept.
    """

    width: int
    height: int
    faces: int
    box: tuple[float, float, float, float] | None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    sha256: str


class SpeechFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What inspection found in a recording."""

    seconds: float
    rate: int
    channels: int
    sha256: str
