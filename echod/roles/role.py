"""A role: an AI character with a portrait, as a value."""

from __future__ import annotations

from pathlib import Path

import msgspec

from echod.inspection.facts import PortraitFacts
from echod.jobs.job import ClipOptions
from echod.jobs.options import check_options
from echod.roles.file import RoleFile


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role that can be used. `picture` is the inspected portrait: 8-bit RGB, upright, full size."""

    name: str
    file: RoleFile
    portrait: PortraitFacts
    picture: Path

    @property
    def clip_options(self) -> ClipOptions:
        return check_options(self.file.options, "picture")

    @property
    def title(self) -> str:
        return self.file.title or self.name
