"""The WebSocket side of a daemon; `app.create_app` is the HTTP side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from echod.server.events import events
from echod.server.front.front import Handler
from echod.server.realtime.socket import realtime
from echod.server.services import Services


def sockets(services: Services) -> Mapping[str, Handler]:
    """Path -> what serves a connection to it."""
    return {
        "/v1/events": partial(events, services=services),
        "/v1/realtime": partial(realtime, services=services),
    }
