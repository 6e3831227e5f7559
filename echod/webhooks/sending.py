"""POST to an address that somebody named, and to no other: what a name means is looked up, checked, and connected to.

Between check and connection there is no second look-up that could give another answer. Nothing is redirected, no proxy
of the environment is used, and of the answer only the status is read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpcore

from echod.errors import EchodError, invalid
from echod.host.network import is_loopback, is_public

SECONDS = 15.0  # for a whole attempt
LOOKUPS = 8  # at once
MAX_URL = 2048

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotSent(Exception):
    """Nothing answered, or nobody was asked; says why."""


def check_url(url: str, *, private: bool) -> None:
    """Whether it may be registered. What a name means is looked at with every attempt. EchodError: invalid_request."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise invalid(f"url: {error}", "url") from None
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or not host or port == 0:
        raise invalid(
            f"url must be an address such as https://example.org/hook, of at most {MAX_URL} characters", "url"
        )
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise invalid("url must begin with https://; http is for the setting webhook_private alone", "url")
    if parts.username is not None or parts.fragment:
        raise invalid("url must have no name, password or fragment in it: receivers check the signature", "url")
    if not private and (is_loopback(host) or _literal(host) not in (None, True)):
        raise invalid(f"url: {host} is a private address; the setting webhook_private allows those", "url")


def _literal(host: str) -> bool | None:
    """Whether a host that is an address may be told; None for a name."""
    try:
        return is_public(ipaddress.ip_address(host))
    except ValueError:
        return None


class Sender:
    """`private` says whether addresses of the own network are allowed at present."""

    def __init__(self, private: Callable[[], bool]) -> None:
        self._private = private
        # Its own threads: names whose servers do not answer must not hold up what others wait for.
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhooks")

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())  # beside the system's, which may have none
        return context

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> int:
        """The status it was answered with. Raises NotSent."""
        private = self._private()
        try:
            check_url(url, private=private)  # the setting may have changed
            trusted = await asyncio.to_thread(lambda: self._trusted)  # it is read once, which takes a while
            async with (
                asyncio.timeout(SECONDS),
                httpcore.AsyncConnectionPool(trusted, network_backend=Checked(private, self._threads)) as pool,
                pool.stream(
                    "POST", url, headers=[("Host", urlsplit(url).netloc), *headers.items()], content=content
                ) as response,
            ):
                return int(response.status)
        except EchodError as error:
            raise NotSent(error.message) from error
        except TimeoutError as error:
            raise NotSent(f"no answer in {SECONDS:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError, ValueError) as error:
            raise NotSent(f"{type(error).__name__}: {error}"[:200]) from error


class Checked(httpcore.AsyncNetworkBackend):
    """Connects to public addresses alone, unless `private`; names are looked up in `threads`."""

    def __init__(self, private: bool, threads: ThreadPoolExecutor) -> None:
        self._private = private
        self._threads = threads
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = NotSent(f"{host} has no address")
        for address in await self._addresses(host, port):
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int) -> list[IPAddress]:
        """All that the name means. If one may not be told, none is: which is taken must not be a matter of luck."""
        try:
            look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except OSError as error:
            raise NotSent(f"{host} cannot be looked up: {error.strerror}") from None
        addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        if not self._private and (forbidden := [each for each in addresses if not is_public(each)]):
            raise NotSent(f"{host} is {forbidden[0]}, a private address; the setting webhook_private allows those")
        return list(dict.fromkeys(addresses))
