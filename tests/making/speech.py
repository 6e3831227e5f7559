"""What is heard and said: a second of silence, and words that come in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator

from echod.sound.pcm import HEAR_RATE

SECOND = bytes(2 * HEAR_RATE)


async def words(*pieces: str) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece
