"""Who is local, and who is refused while there are no accounts; with accounts: test_breakin.py."""

from __future__ import annotations

import pytest

from echod.errors import EchodError
from echod.server.caller import LOCAL, Address
from tests.drivers.asking import local_only as caller

TCP: Address = ("127.0.0.1", 8765)
UNIX: Address = ("/run/echod/echod.sock", None)
PEER: Address = ("127.0.0.1", 50000)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "127.0.0.1", "localhost", "LOCALHOST:8765", "[::1]:8765", "[::1]", "127.8.9.10:1"]
)
def test_loopback_with_a_loopback_host(host: str) -> None:
    """Loopback to loopback with a loopback Host is the local admin."""
    assert caller([("Host", host)], TCP, PEER) == LOCAL
    assert caller([("Host", host)], ("::1", 8765), ("::1", 50000)) == LOCAL


@pytest.mark.parametrize("host", ["localhost", "anything.example", ""])
def test_unix_socket(host: str) -> None:
    """Over the unix socket the file's permission is the check, whatever the Host says."""
    assert caller([("host", host)], UNIX, None) is LOCAL


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "192.168.1.5:8765",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[::2]",
        "",
    ],
)
def test_host_of_another_name(host: str) -> None:
    """A page that rebinds its own name to 127.0.0.1 sends that name as the Host, and is refused."""
    with pytest.raises(EchodError, match="sent to the host") as refusal:
        caller([("host", host)], TCP, PEER)
    assert refusal.value.code == "forbidden"


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"]])
def test_exactly_one_host(hosts: list[str]) -> None:
    """No Host, or two of them, is not local."""
    with pytest.raises(EchodError, match="sent to the host"):
        caller([("host", host) for host in hosts], TCP, PEER)


@pytest.mark.parametrize("peer", [("10.0.0.7", 50000), None])
def test_peer_elsewhere(peer: Address | None) -> None:
    """A peer that is not on loopback is refused even if it claims a loopback Host."""
    with pytest.raises(EchodError, match="came from"):
        caller([("host", "localhost")], TCP, peer)


@pytest.mark.parametrize(
    "header", ["Forwarded", "X-Forwarded-For", "x-forwarded-proto", "X-FORWARDED-ANYTHING", "Via", "X-Real-IP"]
)
@pytest.mark.parametrize("server", [TCP, UNIX])
def test_proxies_make_remote(header: str, server: Address) -> None:
    """What a proxy passes on is remote on either socket."""
    with pytest.raises(EchodError, match="proxy"):
        caller([("host", "localhost"), (header, "127.0.0.1")], server, PEER)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost:8765", "http://localhost", "http://localhost:8766", "null", ""]
)
@pytest.mark.parametrize("server", [TCP, UNIX])
def test_foreign_origin(origin: str, server: Address) -> None:
    """A page of another origin is remote on either socket."""
    with pytest.raises(EchodError, match="another origin"):
        caller([("host", "localhost:8765"), ("origin", origin)], server, PEER)


def test_own_origin() -> None:
    """A page that this daemon served may call it."""
    assert caller([("host", "localhost:8765"), ("origin", "http://localhost:8765")], TCP, PEER) == LOCAL


def test_two_origins() -> None:
    """A second Origin header does not hide a foreign one."""
    headers = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")]
    with pytest.raises(EchodError, match="another origin"):
        caller(headers, TCP, PEER)
