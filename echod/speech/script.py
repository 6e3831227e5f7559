"""The text of one call to speak, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

SECONDS_PER_CHARACTER = 0.5  # what speaking may take beyond speak_timeout; the slowest voices need half of it


class Watch(Protocol):
    """The clock of whoever speaks, which stands still while there is nothing to speak."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def allow(self, seconds: float) -> None:
        """There is more time, because there is more to speak."""


class Script:
    """Text on its way to a voice, kept so that another attempt can read it from its beginning."""

    def __init__(self, source: AsyncIterator[str]) -> None:
        self.pieces: list[str] = []
        self.failure: Exception | None = None  # the source's own
        self.watch: Watch
        self._source = source
        self._coming: asyncio.Task[str | None] | None = None

    async def read(self) -> AsyncGenerator[str, None]:
        for piece in list(self.pieces):
            yield piece
        while (more := await self._next()) is not None:
            yield more

    async def _next(self) -> str | None:
        # A task of its own: an attempt that ends while it waits here must not end the source for the next one.
        self._coming = self._coming or asyncio.create_task(self._take())
        self.watch.pause()
        try:
            piece = await asyncio.shield(self._coming)
        except Exception as error:
            self.failure = error
            raise
        finally:
            self.watch.resume()
        self._coming = None
        if piece is not None:
            self.pieces.append(piece)
            self.watch.allow(SECONDS_PER_CHARACTER * len(piece))
        return piece

    async def _take(self) -> str | None:
        return await anext(self._source, None)

    async def aclose(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait([self._coming])
