"""Who callers are that come through a proxy: a real one, where it matters what it sends along."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from echod.server.caller import COOKIE
from tests.drivers.asking import over_unix_socket, refusal
from tests.stand_ins.daemon import PASSWORD, Daemon
from tests.stand_ins.nginx import nginx

# What decides over accounts, by what it is called with; logging in is among it, where there is nobody to log in as.
ABOUT_ACCOUNTS = {
    ("POST", "/v1/account/login"): {"name": "eve", "password": PASSWORD},
    ("POST", "/v1/account/logout"): None,
    ("PUT", "/v1/account/password"): {"current_password": PASSWORD, "password": PASSWORD},
    ("GET", "/v1/account/tokens"): None,
    ("POST", "/v1/account/tokens"): {"name": "hers", "account": "local"},
    ("DELETE", "/v1/account/tokens/{token_id}"): None,
    ("GET", "/v1/accounts"): None,
    ("POST", "/v1/accounts"): {"name": "eve", "password": PASSWORD, "role": "admin"},
    ("PUT", "/v1/accounts/{name}/password"): {"password": PASSWORD},
    ("DELETE", "/v1/accounts/{name}"): None,
}


async def test_every_route_about_accounts(daemon: Daemon) -> None:
    """The table above is whole: only who one is may be asked by everybody."""
    paths = daemon.app.openapi()["paths"].items()
    found = {
        (method.upper(), path)
        for path, operations in paths
        for method in operations
        if path.startswith("/v1/account") and method not in ("head", "options")
    }
    assert found - set(ABOUT_ACCOUNTS) == {("GET", "/v1/account/me")}


async def refused_everywhere(http: httpx.AsyncClient, daemon: Daemon) -> None:
    for (method, path), body in ABOUT_ACCOUNTS.items():
        answer = await http.request(method, path.format(name="eve", token_id="token_1"), json=body)
        assert refusal(answer)[:2] == (403, "forbidden"), path
        for part in ("echod users add", "unix socket", "--url unix:"):
            assert part in answer.json()["error"]["message"]
        assert COOKIE not in answer.cookies
    assert not daemon.accounts


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
    ],
)
async def test_a_stranger_behind_a_plain_proxy(daemon: Daemon, tmp_path: Path, extra: str) -> None:
    """A proxy that adds nothing makes a stranger look local: they make clips, but nobody an admin."""
    with nginx(daemon.base, tmp_path / "nginx", extra) as proxied:
        async with httpx.AsyncClient(base_url=proxied, timeout=20, headers={"Host": "clips.example.org"}) as stranger:
            assert (await stranger.get("/v1/account/me")).json()["name"] == "local"  # so plain is this proxy
            await refused_everywhere(stranger, daemon)


async def test_by_tcp(daemon: Daemon) -> None:
    """Nor does anybody else by TCP; over the unix socket the first account is made, and rules from then on."""
    await refused_everywhere(daemon.http, daemon)
    await daemon.submit()
    async with over_unix_socket(daemon) as unix:
        assert (await unix.get("/v1/accounts")).json()["data"] == []
        wrong = await unix.post("/v1/account/login", json={"name": "eve", "password": PASSWORD})
        assert refusal(wrong)[:2] == (401, "unauthorized")
        anna = {"name": "anna", "password": PASSWORD, "role": "admin"}
        assert (await unix.post("/v1/accounts", json=anna)).status_code == 200
        assert len((await unix.get("/v1/videos")).json()["data"]) == 1
    login = await daemon.http.post("/v1/account/login", json={"name": "anna", "password": PASSWORD})
    assert login.status_code == 200


async def test_a_proxy_that_says_so(daemon: Daemon, tmp_path: Path) -> None:
    """Who comes through a proxy that tells of them in any of the usual ways is no local caller."""
    ways = (
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "proxy_set_header X-Real-IP $remote_addr;",
        "proxy_set_header Forwarded for=$remote_addr;", "proxy_set_header Via '1.1 front';",
        "proxy_set_header Host $host;",
    )  # fmt: skip
    for number, extra in enumerate(ways):
        with nginx(daemon.base, tmp_path / f"nginx{number}", extra) as proxied:
            async with httpx.AsyncClient(base_url=proxied, timeout=20) as stranger:
                answer = await stranger.get("/v1/videos", headers={"Host": "clips.example.org"})
        assert refusal(answer)[:2] == (403, "forbidden"), extra


async def guesses(daemon: Daemon, name: str, hops: list[str], count: int) -> list[int]:
    """The statuses of wrong logins that come with these lines of X-Forwarded-For."""
    lines = [("X-Forwarded-For", hop) for hop in hops]
    wrong = {"name": name, "password": "no such password"}
    return [(await daemon.http.post("/v1/account/login", json=wrong, headers=lines)).status_code for _ in range(count)]


async def test_a_proxy_that_adds_a_line_of_its_own(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a guesser claims in the lines before it, the address that the proxy saw is the one that is limited."""
    await daemon.person("anna", "admin")
    monkeypatch.setattr(daemon, "clock", lambda: 1e9)
    told = [await guesses(daemon, "anna", [f"203.0.113.{number}", "192.0.2.7"], 1) for number in range(12)]
    assert told == [[401]] * 10 + [[429]] * 2
    assert await guesses(daemon, "anna", ["203.0.113.1", "192.0.2.8"], 1) == [401]


async def test_a_proxy_that_is_not_trusted(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of others is not believed; the setting counts as soon as it is read again."""
    await daemon.person("anna", "admin")
    monkeypatch.setattr(daemon, "clock", lambda: 1e9)
    daemon.settings.now = daemon.changed(trusted_proxies=())
    told = [await guesses(daemon, "anna", [f"192.0.2.{number}"], 1) for number in range(12)]
    assert told == [[401]] * 10 + [[429]] * 2
    daemon.settings.now = daemon.config
    assert await guesses(daemon, "anna", ["192.0.2.1"], 1) == [401]


async def test_the_owner_is_not_locked_out(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy that says whom it speaks for, one guesser holds up neither the owner nor anybody else."""
    await daemon.person("anna", "admin")
    monkeypatch.setattr(daemon, "clock", lambda: 1e9)
    login = {"name": "anna", "password": PASSWORD}
    extra = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    with nginx(daemon.base, tmp_path / "nginx", extra) as proxied:

        async def log_in(address: str, password: str) -> int:
            transport = httpx.AsyncHTTPTransport(local_address=address)
            claim = {"X-Forwarded-For": "203.0.113.9"}
            async with httpx.AsyncClient(base_url=proxied, transport=transport, headers=claim, timeout=20) as http:
                return (await http.post("/v1/account/login", json=login | {"password": password})).status_code

        # Of loopback addresses the first is trusted here: the others stand for people elsewhere.
        daemon.settings.now = daemon.changed(trusted_proxies=(ip_network("127.0.0.1"),))
        assert [await log_in("127.0.0.2", f"guess {number}") for number in range(12)] == [401] * 10 + [429] * 2
        assert await log_in("127.0.0.2", PASSWORD) == 429
        assert await log_in("127.0.0.3", PASSWORD) == 200
