"""What deploy/ has for nginx and Caddy, in real ones: at a host of its own and under a path."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.drivers.asking import receive, until
from tests.stand_ins.daemon import PASSWORD, Daemon, Person
from tests.stand_ins.hands import PORTRAIT
from tests.stand_ins.proxies import ANY, proxied

pytestmark = pytest.mark.timeout(15)
FILES = ("nginx.conf", "nginx-path.conf", "Caddyfile", "Caddyfile-path")
PUBLIC = "https://echod.example.org"
MAX_UPLOAD = 3 * 2**20  # more than nginx takes if nothing is said


@dataclass
class Site:
    """`http` asks the proxy at `base`, as anna, who came by `public`."""

    daemon: Daemon
    anna: Person
    base: str
    public: str
    host: dict[str, str]
    http: httpx.AsyncClient


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> dict[str, object]:
    path = "/echod" if "path" in request.getfixturevalue("file") else ""
    return {"max_upload": MAX_UPLOAD, "public_url": f"{PUBLIC}{path}"}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def site(daemon: Daemon, file: str, tmp_path: Path) -> AsyncIterator[Site]:
    anna = await daemon.person("anna", "admin")
    with proxied(file, urlsplit(daemon.base).netloc, tmp_path / "proxy") as base:
        host = {"Host": urlsplit(PUBLIC).netloc} if "nginx" in file else {}  # Caddy serves the name it is told
        async with httpx.AsyncClient(base_url=f"{base}/", headers=anna.bearer | host, timeout=20, verify=ANY) as http:
            yield Site(daemon, anna, base, str(daemon.config.public_url), host, http)


async def test_page_and_signing_in(site: Site) -> None:
    """Everything the page names is there, relative to where it is; a browser signs in, and addresses lead back."""
    html = (await site.http.get("")).raise_for_status().text
    named = set(re.findall(r'(?:href|src)="([^"#]+)', html))
    assert len(named) > 20
    for each in named:
        found = await site.http.get(urljoin(f"{site.base}/", each))
        assert found.status_code == 200, each
    await site.daemon.upload(PORTRAIT, person=site.anna)
    [file] = (await site.http.get("v1/files")).json()["data"]
    assert file["echod"]["url"].startswith(f"{site.public}/v1/files/")
    signed = file["echod"]["url"].replace(site.public, site.base)
    async with httpx.AsyncClient(base_url=f"{site.base}/", headers=site.host, verify=ANY) as browser:
        assert (await browser.get(signed)).content == PORTRAIT
        assert (await browser.get("v1/videos")).status_code == 401
        origin = {"Origin": PUBLIC}
        login = {"name": "anna", "password": PASSWORD}
        answer = await browser.post("v1/account/login", json=login, headers=origin)
        cookie = answer.raise_for_status().headers["set-cookie"]
        assert "Secure" in cookie
        cookies = {"Cookie": cookie.partition(";")[0], **origin}
        assert (await browser.get("v1/videos", headers=cookies)).status_code == 200
        assert (await browser.post("v1/account/logout", headers=cookies)).status_code == 200


async def test_uploads(site: Site, file: str) -> None:
    """One below `max_upload` arrives; one above it is refused by the daemon, in its words."""
    # Of Caddy's clients with HTTP/1.1 not all get to read what is said to them in the middle of a long body.
    above = (MAX_UPLOAD + 2**17, 32 * 2**20) if "nginx" in file else (MAX_UPLOAD + 2**17,)
    for size, status in ((2 * 2**20, 200), *((size, 413) for size in above)):
        content = PORTRAIT.ljust(size, b" ")
        answer = await site.http.post("v1/files", files={"file": ("p.png", content)}, data={"purpose": "user_data"})
        assert answer.status_code == status, answer.text
        assert status == 200 or "max_upload" in answer.json()["error"]["message"]


async def test_clip(site: Site) -> None:
    """Its events come by WebSocket, its bytes while it grows, and later in ranges; who waits for it may leave."""
    address = site.base.replace("http", "ws")
    async with connect(f"{address}/v1/events", additional_headers=site.anna.bearer, ssl=ANY) as events:
        job_id = await site.daemon.submit(site.anna)
        assert (await receive(events))["type"] == "job.queued"
        await wait_and_leave(site, job_id)
        job = await site.daemon.hands.begin()
        await site.daemon.hands.grow(job, b"one ")
        async with site.http.stream("GET", f"v1/videos/{job_id}/stream") as stream:
            pieces, had = stream.aiter_raw(), b""
            while had != b"one ":  # the next is made once this has arrived
                had += await anext(pieces)
            await site.daemon.hands.grow(job, b"two")
            while had != b"one two":
                had += await anext(pieces)
            await site.daemon.hands.complete(job, b"0123456789")
            assert [piece async for piece in pieces] == []
    part = await site.http.get(f"v1/videos/{job_id}/content", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")


async def wait_and_leave(site: Site, job_id: str) -> None:
    """As a viewer of a clip that is still queued, whom the daemon waits for no longer either."""
    watchers = site.daemon.desk.feed.watchers
    others = len(watchers)
    viewer = asyncio.create_task(site.http.get(f"v1/videos/{job_id}/stream"))
    await until(lambda: len(watchers) > others or viewer.done())
    assert not viewer.done()
    viewer.cancel()
    await until(lambda: len(watchers) == others)


async def test_talking(site: Site) -> None:
    """The WebSockets of conversations and avatars pass both ways, and end with the daemon's reason."""
    address, anna = site.base.replace("http", "ws"), site.anna.bearer
    async with connect(f"{address}/v1/realtime?model=auto", additional_headers=anna, ssl=ANY) as realtime:
        assert (await receive(realtime))["type"] == "session.created"
        await realtime.send(json.dumps({"type": "session.update", "session": {"type": "realtime"}}))
        assert (await receive(realtime))["type"] == "session.updated"
    async with connect(f"{address}/v1/avatar", additional_headers=anna, ssl=ANY) as avatar:
        await avatar.send(json.dumps({"type": "start", "rate": 1}))
        assert (await receive(avatar))["error"]["param"] == "rate"
        await avatar.wait_closed()
    assert avatar.close_code == 1008


async def test_strangers_stay_strangers(daemon: Daemon, file: str, tmp_path: Path) -> None:
    """Without accounts nobody is let in through it."""
    with proxied(file, urlsplit(daemon.base).netloc, tmp_path / "proxy") as base:
        async with httpx.AsyncClient(verify=ANY) as http:
            for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}):
                assert (await http.get(f"{base}/v1/videos", headers=headers)).status_code == 403
