"""What the routes work with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from echod.server.accounts import Address, Caller

if TYPE_CHECKING:
    from echod.config import Config
    from echod.desk import Desk
    from echod.devices import DeviceState
    from echod.metrics import Metrics
    from echod.uploads import FileStore


@dataclass(frozen=True)
class Services:
    """The daemon behind the server. `devices` is the fleet's present state, `tcp_url` where the TCP port is."""

    desk: Desk
    files: FileStore
    devices: Callable[[], Sequence[DeviceState]]
    metrics: Metrics
    tcp_url: Callable[[], str]

    @property
    def config(self) -> Config:
        """The settings in force: SIGHUP gives the desk new ones."""
        return self.desk.config

    def base_url(self, host: str | None, server: Address | None) -> str:
        """What URLs in an answer begin with, for a caller of the socket `server` that named `host`.

        The host that a caller names on the unix socket means nothing.
        """
        if self.config.public_url:
            return self.config.public_url
        by_tcp = host and server and server[1] is not None
        return f"http://{host}" if by_tcp else self.tcp_url()


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
    return (await services(request)).base_url(request.headers.get("host"), request.scope["server"])


Served = Annotated[Services, Depends(services)]
Calling = Annotated[Caller, Depends(calling)]
BaseUrl = Annotated[str, Depends(base_url)]
