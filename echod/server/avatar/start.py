"""What a client of /v1/avatar asks for in its first message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import msgspec

from echod.errors import EchodError, invalid
from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs.job import CONVERSATION, ClipOptions, Draft, clip_size
from echod.jobs.options import check_options
from echod.server.caller import Caller
from echod.server.services import Services
from echod.sound.pcm import SPEAK_RATE

Video: TypeAlias = Literal["h264", "rgb24"]

OPTIONS = ("size", "fps", "view", "seed", "steps", "guidance")
FIELDS = ("type", "role", "portrait", "model", "rate", "video", "chained", *OPTIONS)
RATES = range(8_000, 48_001)


@dataclass(frozen=True)
class Start:
    """Whose face it is, what its clips are like, what comes and what goes."""

    account: str
    portrait: PortraitFacts
    portrait_file: Path
    engine: str
    options: ClipOptions
    rate: int  # of the sound that comes
    video: Video

    @property
    def size(self) -> tuple[int, int]:
        return clip_size(self.options, self.portrait)

    @property
    def chained(self) -> bool:
        """Whether a piece waits for the one before, to go on from its end."""
        return self.options.chained

    def draft(self, speech: SpeechFacts, file: Path, joins: tuple[bool, bool], before: Path | None) -> Draft:
        """A job that goes before all batch work. `joins`: more of the segment is said before, and after it."""
        return Draft(
            account=self.account,
            portrait=self.portrait,
            portrait_file=self.portrait_file,
            speech=speech,
            speech_file=file,
            before=before,
            engine=self.engine,
            options=msgspec.structs.replace(self.options, live=True, joins=joins),
            priority=CONVERSATION,
        )


async def read_start(message: Mapping[str, Any], role: str | None, services: Services, caller: Caller) -> Start:
    """Check it; `role` is the one in the address. EchodError invalid_request, not_found and others."""
    if message.get("type") != "start":
        raise invalid(f"the first message must have the type start; it is {message.get('type')!r}", "type")
    given = {name: value for name, value in message.items() if value is not None}
    for name in given:
        if name not in FIELDS:
            raise invalid(f"there is no field {name!r}; known are {', '.join(FIELDS)}", name)
    rate, video, chained = given.get("rate"), given.get("video", "h264"), given.get("chained", False)
    if isinstance(rate, bool) or not isinstance(rate, int) or rate not in RATES:
        raise invalid(f"rate = {rate!r}: samples per second of the sound that comes, {RATES[0]} to {RATES[-1]}", "rate")
    if video not in get_args(Video):
        raise invalid(f"video = {video!r}: it must be one of {', '.join(get_args(Video))}", "video")
    if not isinstance(chained, bool):
        raise invalid(f"chained = {chained!r}: it must be true or false", "chained")
    portrait, file, engine, options = await _face(given, role, services, caller)
    if SPEAK_RATE % options.fps:
        raise invalid(f"fps = {options.fps}: it must divide {SPEAK_RATE}, such as 24, 25 or 30", "fps")
    options = msgspec.structs.replace(options, max_picture=services.config.max_picture, chained=chained)
    return Start(caller.account, portrait, file, engine, options, rate, cast("Video", video))


async def _face(
    given: Mapping[str, Any], named: str | None, services: Services, caller: Caller
) -> tuple[PortraitFacts, Path, str, ClipOptions]:
    asked, file_id, name = (
        {key: given[key] for key in OPTIONS if key in given},
        given.get("portrait"),
        given.get("role", named),
    )
    if (file_id is None) == (name is None):
        raise invalid("name either a role or a portrait, the id of a file sent to POST /v1/files before", "role")
    if name is not None:
        role = await services.roles.find(str(name))
        engine = services.desk.engine(given.get("model", role.file.engine))
        return role.portrait, role.picture, engine, check_options({**role.file.options, **asked}, "picture")
    record = await services.files.find(str(file_id), caller.sees)
    if record.portrait is None:
        raise EchodError("invalid_request", f"file {record.id} is a {record.kind}, and no portrait", param="portrait")
    engine = services.desk.engine(given.get("model"))
    return record.portrait, services.files.prepared(record), engine, check_options(asked)
