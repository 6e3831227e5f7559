"""Whose address it is: this machine's, a proxy's that speaks for others, or that of whoever is at the other end."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

MAX_NAME = 64  # characters of a hop that is no address
NAT64 = IPv6Network("64:ff9b::/96")  # IPv4 addresses by way of IPv6
CUSTOMER = 64  # bits of an IPv6 address that tell one customer from another: the rest is theirs to choose


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant; a name other than localhost may be anything."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is out in the internet: nobody's own network, nor this machine, nor a way round to either."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        inside = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if any(each is not None and not is_public(each) for each in inside):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def peer(connected: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> str:
    """Who is at the other end, as far as they cannot choose it: one IPv4 address, or one customer's IPv6 network.

    `connected` is the address of the connection, None on the unix socket, `forwarded` every X-Forwarded-For line in
    order. Each proxy adds the address that called it at the end, some of them in a line of its own (RFC 9110, 5.3:
    the lines are one list). So the last hop is that of the proxy which called us, and means something only if it is
    `trusted`; so does the one before it if that hop is trusted too. Whoever calls by the unix socket is trusted.
    """
    hops = [hop for line in forwarded for hop in map(str.strip, line.split(",")) if hop]
    here = connected or ""
    while hops and (not here or _within(here, trusted)):
        here = hops.pop()
    address = _address(here)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, CUSTOMER), strict=False))
    return str(address or here[:MAX_NAME])


def _within(host: str, networks: Sequence[Network]) -> bool:
    address = _address(host)
    return address is not None and any(address in network for network in networks)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Of `10.0.0.1`, `10.0.0.1:4711`, `fe80::1%eth0` or `[2001:db8::1]:4711`: some proxies add a port."""
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
