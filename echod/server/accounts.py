"""Who calls: one function of headers and socket, for HTTP requests and WebSocket handshakes alike.

No accounts exist yet, so a caller is local or refused. Local means that nothing stands between caller and daemon: the
unix socket (its file permission is the check), or loopback to loopback with a loopback Host, which a page that
rebinds its DNS name cannot send. A proxy's header or a foreign Origin makes a caller remote on either socket.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from echod.errors import EchodError

Address = tuple[str, int | None]


@dataclass(frozen=True)
class Caller:
    """An account at work. Admins see every account's jobs and files."""

    account: str
    admin: bool

    @property
    def sees(self) -> str | None:
        """The account whose jobs and files this caller may see; None for all."""
        return None if self.admin else self.account


LOCAL = Caller("local", admin=True)


def caller(headers: Iterable[tuple[str, str]], server: Address | None, client: Address | None) -> Caller:
    """Decide who sent `headers` to the socket `server`, (path, None) for a unix socket, from the peer `client`.

    EchodError `forbidden` for everyone who is not local.
    """
    pairs = [(name.lower(), value.strip()) for name, value in headers]
    reason = _forwarded(pairs) or _foreign_origin(pairs) or _not_loopback(pairs, server, client)
    if reason:
        raise EchodError(
            "forbidden",
            f"{reason}, and this daemon serves local callers only. Call it on its own machine: over its unix socket, "
            "or as http://127.0.0.1:<port> without a proxy in between.",
        )
    return LOCAL


def _forwarded(pairs: list[tuple[str, str]]) -> str | None:
    for name, _ in pairs:
        if name == "forwarded" or name.startswith("x-forwarded-"):
            return f"the request came through a proxy (it has the header {name!r})"
    return None


def _foreign_origin(pairs: list[tuple[str, str]]) -> str | None:
    origins, hosts = _values(pairs, "origin"), _values(pairs, "host")
    if origins and [origin.lower() for origin in origins] != [f"http://{host.lower()}" for host in hosts]:
        return f"the request was made by a page of another origin ({origins[0]!r})"
    return None


def _not_loopback(pairs: list[tuple[str, str]], server: Address | None, client: Address | None) -> str | None:
    if server is None:
        return "the connection has no address"
    if server[1] is None:
        return None
    if client is None or not _is_loopback(client[0]):
        return f"the request came from {client[0] if client else 'an unknown address'}"
    hosts = _values(pairs, "host")
    if len(hosts) != 1 or not _is_loopback(_hostname(hosts[0])):
        return f"the request was sent to the host {hosts[0] if hosts else ''!r}"
    return None


def _values(pairs: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in pairs if key == name]


def _hostname(host: str) -> str:
    """`127.0.0.1` of `127.0.0.1:8765`, `::1` of `[::1]:8765`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
