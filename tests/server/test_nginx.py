"""Behind a real nginx with its WebSocket recipe: strangers stay strangers, and honest clients are served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.drivers.asking import until
from tests.drivers.wire import H2C, LATE, OTHERS, SECOND, SOCKET, WEBSOCKET, Wire, posting, served
from tests.stand_ins.daemon import Daemon, Person
from tests.stand_ins.nginx import nginx

pytestmark = pytest.mark.timeout(60)

# https://nginx.org/en/docs/http/websocket.html, with whom it speaks for, and buffering as it is if nothing is said
RECIPE = """
    proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    proxy_set_header Host 127.0.0.1; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
"""


@pytest.fixture(params=["tcp", "unix"])
def proxy(request: pytest.FixtureRequest, daemon: Daemon, tmp_path: Path) -> Iterator[int]:
    """The port of an nginx in front of the daemon's TCP port or its unix socket."""
    upstream = f"http://unix:{daemon.config.socket}:" if request.param == "unix" else daemon.base
    with nginx(upstream, tmp_path / "nginx", RECIPE) as base:
        yield int(base.rpartition(":")[2])


@pytest.fixture(params=[False, True], ids=["no accounts", "accounts"])
async def anna(request: pytest.FixtureRequest, daemon: Daemon) -> Person | None:
    return await daemon.person("anna", "admin") if request.param else None


async def exchange(port: int, *sent: bytes) -> bytes:
    """All that comes back until nginx closes."""
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    for piece in sent:
        wire.writer.write(piece)
        await wire.writer.drain()
    return await wire.rest()


async def seen(daemon: Daemon, number: int) -> None:
    """Until so many requests have ended; the test fails if it was one more."""
    await until(lambda: served(daemon) >= number and not daemon.front.state.tasks)
    assert served(daemon) == number


async def test_second_request_in_a_body(daemon: Daemon, proxy: int, anna: Person | None) -> None:
    """A stranger's body is nobody's request: one answer for each, and the daemon has seen no other."""
    people = [account.name for account in daemon.accounts.all()]
    for number, (upgrade, body, chunked) in enumerate(product(OTHERS, (SECOND, LATE, SOCKET), (False, True)), 1):
        attack = posting(body, upgrade.replace("Connection: ", "Connection: close, "), chunked=chunked)
        answers = await exchange(proxy, attack)
        assert answers.count(b"HTTP/1.1 ") == 1
        assert answers.split()[1] == (b"401" if anna else b"403")
        await seen(daemon, number)
    answers = await exchange(proxy, posting(SECOND, WEBSOCKET.replace("Connection: ", "Connection: close, ")))
    assert (answers.count(b"HTTP/1.1 "), answers[:13]) == (1, b"HTTP/1.1 400 ")
    await seen(daemon, number)
    assert [account.name for account in daemon.accounts.all()] == people


async def test_websocket_in_a_body(daemon: Daemon, proxy: int, anna: Person | None) -> None:
    """Nor does a stranger get a socket by having it opened behind a request of theirs."""
    watchers = len(daemon.desk.feed.watchers)
    late = posting(SOCKET, "Connection: upgrade\r\nUpgrade: x\r\n")
    head = late.index(b"\r\n\r\n") + 4
    for sent in ((SOCKET.encode(),), (late[:head], late[head:]), (late, SOCKET.encode())):
        wire = Wire(*await asyncio.open_connection("127.0.0.1", proxy))
        for piece in sent:
            wire.writer.write(piece)
        assert (await wire.answer()).split()[1] in (b"400", b"401", b"403")
        wire.writer.close()
    assert len(daemon.desk.feed.watchers) == watchers


async def test_honest_clients(daemon: Daemon, proxy: int) -> None:
    """Requests, offers of h2c with a body, and WebSockets pass through for whoever has a token."""
    anna = await daemon.person("anna", "admin")
    base = f"http://127.0.0.1:{proxy}"
    async with httpx.AsyncClient(base_url=base, headers=anna.bearer) as http:
        offer = dict(line.split(": ") for line in H2C.splitlines())
        for headers in ({}, offer, {}):
            answer = await http.post("/v1/account/tokens", json={"name": "t"}, headers=headers)
            assert answer.status_code == 200, answer.text
        assert (await http.get("/v1/videos")).status_code == 200
    async with connect(f"{base.replace('http', 'ws')}/v1/events", additional_headers=anna.bearer) as ws:
        await daemon.submit(anna)
        assert json.loads(await ws.recv())["type"] == "job.queued"
