"""To whom webhooks may go, and to whom they do."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from echod.errors import EchodError
from echod.host.network import is_public
from echod.webhooks.sending import NotSent, Sender, check_url
from tests.stand_ins.loopback import Exchange, LoopbackServer, Request

NOT_PUBLIC = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "192.0.2.1",
    "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1",
    "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::", "2002:a00:1::1",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_not_public(address: str) -> None:
    """Own networks, this machine, many at once, and what leads round to them."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::101:101"])
def test_public(address: str) -> None:
    """The internet."""
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/hook", "ftp://example.org", "https://", "//example.org", "https://user:secret@example.org/",
        "https://example.org/#part", "https://example.org:0/", "https://example.org:99999/", "https://exa mple.org/",
        "https://127.0.0.1/", "https://[::1]/", "https://localhost/", "https://10.1.2.3:8080/x", "https://[fe80::1%1]/",
        "https://[::ffff:10.0.0.1]/", "https://example.org/\nx", "https://exämple.org/", "https://x/" + "y" * 2048,
    ],
)  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    """Before anything is stored, in words."""
    with pytest.raises(EchodError) as refused:
        check_url(url, private=False)
    assert (refused.value.code, refused.value.param) == ("invalid_request", "url")


def test_urls_that_are_taken() -> None:
    """https to names and public addresses; with webhook_private all addresses, and http."""
    for url in ("https://example.org/hook?a=b", "https://1.1.1.1:8443/"):
        check_url(url, private=False)
    for url in ("http://127.0.0.1:8000/hook", "http://receiver.lan/x"):
        check_url(url, private=True)


class Names:
    """Stands in for the resolver: what a name means, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0
        monkeypatch.setattr(socket, "getaddrinfo", self.look)

    def look(self, host: str, port: int, **_: Any) -> list[Any]:
        if host != "hooks.example":  # what was checked is connected to, and looked up no more
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.answers.pop(0)]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["169.254.169.254"]])
async def test_names_of_private_addresses(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    """A name is refused when one of its addresses is, with every attempt anew."""
    names = Names(monkeypatch, addresses)
    with pytest.raises(NotSent, match="private address; the setting webhook_private"):
        await Sender(lambda: False).post("https://hooks.example/", {}, b"{}")
    assert names.asked == 1


class Site(LoopbackServer):
    async def answer(self, request: Request, exchange: Exchange) -> None:
        if request.path == "/moved":
            await exchange.respond(302, {}, {"Location": "/elsewhere"})
        elif request.path == "/endless":
            await exchange.begin_chunked("text/plain")
            while not exchange.writer.is_closing():
                await exchange.chunk(b"x" * 65536)
        elif request.path == "/nonsense":
            await exchange.send(b"\x00\x01\r\n\r\n")
            exchange.close()
        else:
            await exchange.respond(200, {})


async def test_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to what was looked up once; the name stands in Host. A second answer would be another's."""
    async with Site() as site:
        port = site.address.partition(":")[2]
        names = Names(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
        assert await Sender(lambda: True).post(f"http://hooks.example:{port}/x?y=z", {}, b"{}") == 200
        [request] = site.requests
        assert (request.method, request.path, request.body) == ("POST", "/x?y=z", b"{}")
        assert request.headers["host"] == f"hooks.example:{port}"
    assert names.asked == 1


async def test_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redirects are not followed, proxies of the environment not used, endless answers not read, nonsense is told."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    sender = Sender(lambda: True)
    async with Site() as site:
        assert await sender.post(f"http://{site.address}/moved", {}, b"{}") == 302
        assert await sender.post(f"http://{site.address}/endless", {}, b"{}") == 200
        assert [request.path for request in site.requests] == ["/moved", "/endless"]
        with pytest.raises(NotSent):
            await sender.post(f"http://{site.address}/nonsense", {}, b"{}")
        closed = site.address
    with pytest.raises(NotSent):
        await sender.post(f"http://{closed}/", {}, b"{}")
    with pytest.raises(NotSent, match="webhook_private"):
        await Sender(lambda: False).post(f"http://{closed}/", {}, b"{}")
