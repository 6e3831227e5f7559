"""/v1/voices and /v1/usage: what can speak, and what speech has used."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from echod.errors import EchodError
from echod.server.answers import refusals
from echod.server.services import Calling, Served
from echod.speech.usage import DAY
from echod.speech.voices import default_voice, list_voices

router = APIRouter(prefix="/v1", tags=["speech"])


@router.get("/voices", summary="Voices known by name; a server may have more", responses=refusals())
async def voices(served: Served, caller: Calling) -> dict[str, Any]:
    try:
        default = await default_voice(served.calls)
    except EchodError:
        default = None
    rows = [
        {
            "id": str(voice),
            "object": "voice",
            "backend": voice.backend,
            "model": voice.model,
            "name": voice.name,
            "default": voice == default,
        }
        for voice in await list_voices(served.calls)
    ]
    return {"object": "list", "data": rows}


@router.get(
    "/usage",
    summary="Calls for speech, summed by account and day; your own, and for admins everybody's",
    responses=refusals(),
)
async def usage(served: Served, caller: Calling, days: Annotated[int, Query(ge=1, le=3660)] = 30) -> dict[str, Any]:
    since = (served.desk.clock() // DAY - days + 1) * DAY
    return {"object": "list", "data": await served.usage.by_day(caller.sees, since)}
