"""What the routes work with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers

from echod.host.network import peer
from echod.server.budget import Budget
from echod.server.caller import Address, Caller, caller

if TYPE_CHECKING:
    from echod.accounts.signing import Signer
    from echod.accounts.store import Accounts
    from echod.config import Config
    from echod.conversation.store import Conversations
    from echod.jobs.desk import Desk
    from echod.roles.store import Roles
    from echod.server.metrics import Metrics
    from echod.server.tracing import Traces
    from echod.speech.calls import Calls
    from echod.speech.usage import UsageRecords
    from echod.uploads.store import FileStore
    from echod.webhooks.delivering import Delivering
    from echod.webhooks.store import Webhooks
    from echod.workers.state import Cluster, DeviceState


@dataclass(frozen=True)
class Addresses:
    """Makes the URLs of an answer: what they begin with, and who signs them."""

    base: str
    signer: Signer
    lifetime: float

    def __call__(self, resource: str) -> str:
        return self.base + self.signer.sign(resource, self.lifetime)


@dataclass(frozen=True)
class Services:
    """The daemon behind the server. `devices` and `cluster` are the fleet's present state, `tcp_url` where the TCP port
    is.
    """

    desk: Desk
    files: FileStore
    devices: Callable[[], Sequence[DeviceState]]
    metrics: Metrics
    tcp_url: Callable[[], str]
    roles: Roles
    accounts: Accounts
    signer: Signer
    calls: Calls
    usage: UsageRecords
    conversations: Conversations
    webhooks: Webhooks
    delivering: Delivering
    traces: Traces | None = None
    cluster: Callable[[], Cluster | None] = lambda: None

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self.desk.settings.now

    @cached_property
    def budget(self) -> Budget:
        """For what clients are sending."""
        return Budget(lambda: self.config.receive_memory)

    @cached_property
    def said(self) -> Budget:
        """The same for what avatars are still to say: it must not keep messages of other sockets out."""
        return Budget(lambda: self.config.receive_memory)

    def caller(
        self,
        headers: Iterable[tuple[str, str]],
        server: Address | None,
        client: Address | None,
        *,
        reading: bool = False,
        metrics: bool = False,
    ) -> Caller:
        """`accounts.caller`, with these accounts and settings."""
        public_url = self.config.public_url
        return caller(headers, server, client, self.accounts, public_url=public_url, reading=reading, metrics=metrics)

    def peer(self, client: Address | None, headers: Headers) -> str:
        """Whose tries to log in, and whose bodies without an account, are counted together."""
        connected = client[0] if client else None
        return peer(connected, headers.getlist("x-forwarded-for"), self.config.trusted_proxies)

    def addresses(self, host: str | None, server: Address | None) -> Addresses:
        """The URLs for a caller of the socket `server` that named `host`, which means nothing on the unix socket."""
        by_tcp = host and server and server[1] is not None
        base = self.config.public_url or (f"http://{host}" if by_tcp else self.tcp_url())
        return Addresses(base, self.signer, self.config.url_lifetime)


async def services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


async def calling(request: Request) -> Caller:
    """The caller that admission let in."""
    found = request.state.caller
    assert isinstance(found, Caller)
    return found


async def addresses(request: Request) -> Addresses:
    return (await services(request)).addresses(request.headers.get("host"), request.scope["server"])


Served = Annotated[Services, Depends(services)]
Calling = Annotated[Caller, Depends(calling)]
Addressing = Annotated[Addresses, Depends(addresses)]
