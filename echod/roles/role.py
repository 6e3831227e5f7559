"""A role: an AI character with a portrait, as a value."""

from __future__ import annotations

from pathlib import Path

import msgspec

from echod.inspection.facts import PortraitFacts
from echod.jobs.options import check_options
from echod.roles.file import RoleFile
from echod.workers import messages


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role that can be used. `picture` is the inspected portrait: 8-bit RGB, upright, full size."""

    name: str
    file: RoleFile
    portrait: PortraitFacts
    picture: Path

    @property
    def title(self) -> str:
        return self.file.title or self.name

    def order(self, engine: str) -> messages.Prepare:
        """What a worker needs to have this portrait warm for the role's clips."""
        options = check_options(self.file.options)
        return messages.Prepare(
            engine=engine,
            portrait=str(self.picture),
            portrait_sha256=self.portrait.sha256,
            box=self.portrait.box,
            width=options.width,
            height=options.height,
        )
