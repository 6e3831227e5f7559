"""Inspection, the daemon's side: what clients send is decoded by children (`inspection.proc`) and nowhere else.

Portraits and recordings have children of their own, two at most for each, and an account holds one of the two: however
much it sends, and however long that takes, another account's file is taken up at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from echod.config import Settings
from echod.errors import EchodError
from echod.inspection.child import Child
from echod.inspection.messages import PREPARED, Finding, Inspected, Kind, NoPicture, Refused, Request, Want
from echod.inspection.turns import Turns

Allowance: TypeAlias = Callable[[str], tuple[int | None, int]]  # of an account: see `inference.room.Room`


def unlimited(account: str) -> tuple[None, int]:
    return None, 0


class Inspector:
    """All inspection children. New settings hold from the next file on, `inspect_memory` from the next child on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lanes: dict[Kind, Lane] = {"portrait": Lane("portrait"), "speech": Lane("speech")}

    def pids(self, kind: Kind) -> list[int]:
        """Process ids of the children that decode such files."""
        return [child.pid for child in self._lanes[kind].children if child.pid]

    async def start(self, *, shared: bool = False) -> None:
        """Warm a child for each kind, and both where accounts share the daemon. Raises EchodError: internal.

        Others are started by the first file that needs them, which takes seconds.
        """
        for number in range(2 if shared else 1):
            memory = self._settings.now.inspect_memory
            await asyncio.gather(*(lane.children[number].start(memory) for lane in self._lanes.values()))

    async def close(self) -> None:
        """End all children; files under inspection are given up."""
        await asyncio.gather(*(child.close() for lane in self._lanes.values() for child in lane.children))

    async def inspect(
        self, path: Path, into: Path, want: Want, *, account: str = "", allowance: Allowance = unlimited
    ) -> Inspected:
        """Decode `path` and write `into`/portrait.png or `into`/speech.flac, synced, when it is the account's turn.

        `allowance` is asked then for the bytes that may be written and for those that must stay free on the disk.
        Raises EchodError with the code that says what is wrong with the file, quota_exceeded, disk_full; nothing is
        left in `into` then.
        """

        async def ask(kind: Kind) -> Finding:
            async with self._lanes[kind].child(account) as child:
                config, (most, spare) = self._settings.now, allowance(account)
                request = Request(
                    path=path, into=into, want=want, max_seconds=config.max_seconds, max_pixels=config.max_pixels,
                    most=most, spare=spare,
                )  # fmt: skip
                return await child.ask(request, config.inspect_timeout, config.inspect_memory)

        try:
            # Whether it is a picture is soon told; for whatever else it may be, portraits must not wait.
            reply = NoPicture() if want == "speech" else await ask("portrait")
            if isinstance(reply, NoPicture):
                reply = await ask("speech")
            if isinstance(reply, Refused):
                raise EchodError(reply.code, reply.message)
            assert isinstance(reply, Inspected)
        except BaseException:
            for name in PREPARED.values():
                (into / name).unlink(missing_ok=True)
            raise
        return reply


class Lane:
    """The two children for one kind of work."""

    def __init__(self, kind: Kind) -> None:
        self.children = (Child(kind), Child(kind))
        self._free = list(self.children)
        self._turns = Turns(len(self.children))

    @asynccontextmanager
    async def child(self, account: str) -> AsyncIterator[Child]:
        """One that nobody else has, when it is the account's turn; one that runs already if there is."""
        async with self._turns.take(account):
            child = max(self._free, key=lambda child: child.pid is not None)
            self._free.remove(child)
            try:
                yield child
            finally:
                self._free.append(child)
