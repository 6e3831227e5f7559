"""/v1/voices and /v1/usage: what can speak, and what speech has used."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query

from echod.errors import EchodError
from echod.server.answers import Answer, answer, refusals
from echod.server.services import Calling, Served
from echod.speech.usage import DAY, DayOfUsage
from echod.speech.voices import default_voice, list_voices

router = APIRouter(prefix="/v1", tags=["speech"])


class Voice(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="voice"):
    """A voice; `id` is what requests name, `default` who speaks where they name none."""

    id: str
    backend: str
    model: str
    name: str
    default: bool


class Voices(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="list"):
    data: list[Voice]


class UsageByDay(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="list"):
    """Newest day first."""

    data: list[DayOfUsage]


@router.get("/voices", summary="Voices known by name; a server may have more", responses=answer(Voices) | refusals())
async def voices(served: Served, caller: Calling) -> Answer:
    try:
        default = await default_voice(served.calls)
    except EchodError:
        default = None
    rows = [
        Voice(
            id=str(voice),
            backend=voice.backend,
            model=voice.model,
            name=voice.name,
            default=voice == default,
        )
        for voice in await list_voices(served.calls)
    ]
    return Answer(Voices(data=rows))


@router.get(
    "/usage",
    summary="Calls for speech, summed by account and day; your own, and for admins everybody's",
    responses=answer(UsageByDay) | refusals(),
)
async def usage(served: Served, caller: Calling, days: Annotated[int, Query(ge=1, le=3660)] = 30) -> Answer:
    since = (served.desk.clock() // DAY - days + 1) * DAY
    return Answer(UsageByDay(data=await served.usage.by_day(caller.sees, since)))
