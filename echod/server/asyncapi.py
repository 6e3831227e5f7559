"""/asyncapi.json: the messages of the WebSockets, made of the types that are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from echod import __version__
from echod.config import SETTINGS
from echod.jobs.job import View
from echod.server.avatar import events as avatar
from echod.server.avatar.start import RATES, Video
from echod.server.events import Change
from echod.server.openapi import SCHEMES, components, require_defaults
from echod.server.realtime import asked, events


class Start(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="start"):
    """The first message: whose face it is, by `role` or `portrait`, and what comes and goes. Read by `read_start`."""

    rate: Annotated[int, Meta(ge=RATES[0], le=RATES[-1], description="Samples per second of the sound that follows.")]
    role: str | UnsetType | None = UNSET
    portrait: Annotated[str, Meta(description="A file that was sent to POST /v1/files.")] | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    video: Video | UnsetType | None = UNSET
    chained: bool | UnsetType | None = UNSET
    size: str | UnsetType | None = UNSET
    fps: int | UnsetType | None = UNSET
    view: View | UnsetType | None = UNSET
    seed: int | UnsetType | None = UNSET
    steps: int | UnsetType | None = UNSET
    guidance: float | UnsetType | None = UNSET


class Flush(msgspec.Struct, tag_field="type", tag="flush"):
    """What was said is whole; what comes next begins another segment."""


class Clear(msgspec.Struct, tag_field="type", tag="clear"):
    """What is queued and in the making is dropped."""


class Side(NamedTuple):
    """What goes one way over a WebSocket: events, and what is binary, by a name and in words."""

    events: Sequence[type[msgspec.Struct]] = ()
    binary: Mapping[str, str] = {}


class Channel(NamedTuple):
    """A WebSocket: its address and what is in that, what clients may say, and what they get."""

    path: str
    description: str
    query: Mapping[str, str]
    asked: Side
    told: Side


CHANNELS = {
    "events": Channel(
        "/v1/events",
        "Every change of the caller's jobs, as it happens; at first a job.snapshot of each that has not ended.",
        {"after": "The seq of the last change that was seen: those after it come, or else snapshots."},
        Side(),
        Side([Change]),
    ),
    "realtime": Channel(
        "/v1/realtime",
        "A conversation, in the events of OpenAI Realtime; docs/conversation.md has what is different.",
        {
            "model": "role:NAME, or auto: nobody in particular.",
            "conversation": "The id of a session to return to.",
            "intent": "transcription: a session that hears and does not answer.",
        },
        Side(asked.ASKED),
        Side(events.EVENTS),
    ),
    "avatar": Channel(
        "/v1/avatar",
        "A face for somebody else's voice agent; docs/avatar.md has how it is used.",
        {"role": "Whose face."},
        Side(
            [Start, Flush, Clear],
            {"sound": "pcm16, mono, little-endian, of the rate that start named: at most 1 MiB."},
        ),
        Side(
            avatar.EVENTS,
            {
                "shown": "A byte, the kind (1 H.264, 2 rgb24, 3 pcm16, 4 the picture at rest), microseconds since the "
                "segment began in 8 bytes, big-endian, and the content."
            },
        ),
    ),
}
SECURITY = {
    "token": SCHEMES["token"],
    "session": {**SCHEMES["session"], "type": "httpApiKey"},
}


@cache
def document() -> dict[str, Any]:
    """AsyncAPI 3."""
    made: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {"title": "echod", "version": __version__, "description": "What goes over echod's WebSockets."},
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": f"127.0.0.1:{SETTINGS['port'].default}",
                "protocol": "ws",
                "description": "Without accounts callers on this machine need no credentials.",
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in SECURITY],
            }
        },
        "channels": {name: _channel(name, channel) for name, channel in CHANNELS.items()},
        "operations": {},
        "components": {"schemas": {}, "securitySchemes": SECURITY},
    }
    for name, channel in CHANNELS.items():
        made["operations"] |= _operation(name, "receive", channel.asked) | _operation(name, "send", channel.told)
        made["components"]["schemas"] |= _schemas(name, channel)
    return made


def _channel(name: str, channel: Channel) -> dict[str, Any]:
    query = {"type": "object", "properties": {key: _text(told) for key, told in channel.query.items()}}
    messages: dict[str, Any] = {}
    for side in (channel.asked, channel.told):
        messages |= {_name(kind): _message(name, kind) for kind in side.events}
        messages |= {key: _binary(told) for key, told in side.binary.items()}
    return {
        "address": channel.path,
        "description": channel.description,
        "bindings": {"ws": {"query": query, "bindingVersion": "0.1.0"}},
        "messages": messages,
    }


def _operation(name: str, action: str, side: Side) -> dict[str, Any]:
    """What the daemon receives or sends; nothing where there is no such side."""
    messages = [*map(_name, side.events), *side.binary]
    told = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{each}"} for each in messages],
    }
    return {f"{name}.{action}": told} if messages else {}


def _schemas(name: str, channel: Channel) -> dict[str, Any]:
    template = f"#/components/schemas/{name}.{{name}}"
    told = components(channel.told.events, template)
    for schema in told.values():
        require_defaults(schema)
    for kind in channel.told.events:
        if issubclass(kind, events.Event):  # each has an id of its own
            told[kind.__name__]["required"].append("event_id")
    return {f"{name}.{key}": each for key, each in (components(channel.asked.events, template) | told).items()}


def _message(name: str, kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"name": _name(kind), "payload": {"$ref": f"#/components/schemas/{name}.{kind.__name__}"}}


def _name(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag or "change")


def _binary(description: str) -> dict[str, Any]:
    return {"contentType": "application/octet-stream", "description": description, "payload": _text(description)}


def _text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}
