"""The events that a client of /v1/avatar gets; pictures and sound are binary."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from echod.server.answers import Fault
from echod.server.avatar.start import Video


class Event(msgspec.Struct, kw_only=True, tag_field="type"):
    pass


class Started(Event, tag="started"):
    """Pixels of the pictures, how many a second, and samples a second of the sound that comes back."""

    width: int
    height: int
    fps: int
    rate: int
    video: Video


class Queued(Event, tag="queued"):
    """So many jobs go before the next piece of the segment; null: of the picture at rest."""

    segment: int | None
    place: int


class SegmentDone(Event, tag="segment.done"):
    segment: int
    seconds: float


class Cleared(Event, tag="cleared"):
    """Nothing of what was said before comes after it."""


class Error(Event, tag="error"):
    """With a segment: a piece of it has no pictures, and is heard all the same; null: the picture at rest."""

    error: Fault
    segment: int | UnsetType | None = UNSET


EVENTS: tuple[type[Event], ...] = (Started, Queued, SegmentDone, Cleared, Error)
BY_TYPE = {str(kind.__struct_config__.tag): kind for kind in EVENTS}
