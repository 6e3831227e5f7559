"""Whose address it is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from echod.host.network import peer

LOCAL = (ip_network("127.0.0.0/8"), ip_network("::1"))
INNER = (*LOCAL, ip_network("172.17.0.0/16"))


@pytest.mark.parametrize(
    ("connected", "forwarded", "found"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        (None, [], ""),
        ("192.0.2.7", [], "192.0.2.7"),
        ("127.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("::1", ["192.0.2.7"], "192.0.2.7"),
        (None, ["192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["203.0.113.9", "203.0.113.10,203.0.113.11", " , 192.0.2.7 ,"], "192.0.2.7"),
        ("127.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
        ("127.0.0.1", ["[2001:db8:0:1::7]:4711"], "2001:db8:0:1::/64"),
        ("127.0.0.1", ["2001:db8:0:1:ffff::7"], "2001:db8:0:1::/64"),
        ("127.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("127.0.0.1", ["203.0.113.9, unknown"], "unknown"),
        ("127.0.0.1", ["203.0.113.9, " + "x" * 1000], "x" * 64),
    ],
)
def test_the_last_hop(connected: str | None, forwarded: list[str], found: str) -> None:
    """Of all lines the last hop counts, which the proxy added; an IPv6 network is one customer's, a port nobody's."""
    assert peer(connected, forwarded, LOCAL) == found


@pytest.mark.parametrize("connected", ["192.0.2.1", "172.17.0.2", "2001:db8::1"])
def test_whoever_is_no_trusted_proxy(connected: str) -> None:
    """What they say of others counts for nothing, however many lines they say it in."""
    assert peer(connected, ["203.0.113.9"], LOCAL) == peer(connected, ["203.0.113.10", "127.0.0.1"], LOCAL)


def test_a_proxy_before_the_proxy() -> None:
    """Hops that are trusted themselves are passed over, from the end; the first that is not is the peer."""
    assert peer("127.0.0.1", ["203.0.113.9, 192.0.2.7, 172.17.0.2"], INNER) == "192.0.2.7"
    assert peer("172.17.0.2", ["203.0.113.9", "192.0.2.7"], INNER) == "192.0.2.7"
    assert peer("127.0.0.1", ["203.0.113.9, 192.0.2.7, 172.17.0.2"], LOCAL) == "172.17.0.2"
    assert peer("127.0.0.1", ["172.17.0.3, 172.17.0.2"], INNER) == "172.17.0.3"
    assert peer("127.0.0.1", ["192.0.2.7"], ()) == "127.0.0.1"
