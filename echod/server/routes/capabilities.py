"""/v1/capabilities: what this box can do, in a look that calls nobody, so that nobody is offered what cannot be had."""

from __future__ import annotations

import asyncio

import msgspec
from fastapi import APIRouter

from echod.inference.limits import MAX_SIDE, MIN_SIDE, SIDE_STEP
from echod.jobs.options import SIZE
from echod.server.answers import Answer, answer, refusals
from echod.server.routes.submission import MAX_PROMPT
from echod.server.services import Served, Services
from echod.speech import capabilities as speech
from echod.workers.state import READY, exactness

router = APIRouter(prefix="/v1", tags=["speech"])


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """An engine of /v1/models, the main one first. `devices` are those that are ready to use it.

    `exact`: its frames are its model's own, and no sketch or approximation of them; null before a worker has loaded it.
    """

    id: str
    exact: bool | None
    devices: list[str]


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Pixels of a clip's sides: from `min` to `max` in steps of `step`; `default` is WIDTHxHEIGHT."""

    min: int = MIN_SIDE
    max: int = MAX_SIDE
    step: int = SIDE_STEP
    default: str = SIZE


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one request: seconds of speech, bytes of its body, pixels of a portrait, characters of a prompt; and seconds
    of one utterance in a conversation.
    """

    max_seconds: float
    max_upload: int
    max_pixels: int
    max_prompt: int
    max_utterance: float


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="capabilities"):
    hears: speech.Hears
    replies: speech.Replies
    speaks: speech.Speaks
    engines: list[Engine]
    sizes: Sizes = Sizes()
    limits: Limits


@router.get(
    "/capabilities",
    summary="What can be heard, replied, spoken and made here, and what to install for the rest",
    responses=answer(Capabilities) | refusals(),
)
async def capabilities(served: Served) -> Answer:
    return Answer(await _look(served))


async def _look(served: Services) -> Capabilities:
    calls, config = served.calls, served.config
    hears, replies, speaks = await asyncio.gather(speech.hears(calls), speech.replies(calls), speech.speaks(calls))
    return Capabilities(
        hears=hears,
        replies=replies,
        speaks=speaks,
        engines=[_engine(name, served) for name in served.desk.engines],
        limits=Limits(
            max_seconds=config.max_seconds,
            max_upload=config.max_upload,
            max_pixels=config.max_pixels,
            max_prompt=MAX_PROMPT,
            max_utterance=config.max_utterance,
        ),
    )


def _engine(name: str, served: Services) -> Engine:
    ready = [device.device for device in served.devices() if device.state in READY and name in device.engines]
    return Engine(id=name, exact=exactness(name, served.devices()), devices=ready)
