"""What the routes work with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from echod.server.accounts import Caller

if TYPE_CHECKING:
    from echod.config import Config
    from echod.desk import Desk
    from echod.devices import DeviceState
    from echod.metrics import Metrics
    from echod.uploads import FileStore


@dataclass(frozen=True)
class Services:
    """The daemon behind the server. `devices` is the fleet's present state."""

    desk: Desk
    files: FileStore
    devices: Callable[[], Sequence[DeviceState]]
    metrics: Metrics

    @property
    def config(self) -> Config:
        """The settings in force: SIGHUP gives the desk new ones."""
        return self.desk.config

    def base_url(self, host: str | None) -> str:
        """What URLs in an answer begin with, for a caller that named `host`."""
        return self.config.public_url or f"http://{host or 'localhost'}"


async def services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


async def calling(request: Request) -> Caller:
    """The caller that admission let in."""
    found = request.state.caller
    assert isinstance(found, Caller)
    return found


async def base_url(request: Request) -> str:
    return (await services(request)).base_url(request.headers.get("host"))


Served = Annotated[Services, Depends(services)]
Calling = Annotated[Caller, Depends(calling)]
BaseUrl = Annotated[str, Depends(base_url)]
