"""The page's files as they are served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import echod.server
from echod.server.page import FILES
from tests.drivers.asking import refusal
from tests.stand_ins.daemon import Daemon

STATIC = Path(echod.server.__file__).parent / "static"


async def test_everything_is_served(daemon: Daemon) -> None:
    """Every file is there with its type, under the policy, and named by the others only if it exists."""
    types = {"": "text/html", "html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for path in FILES:
        answer = await daemon.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == types[path.rpartition(".")[2].strip("/")]
        assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
        assert answer.headers["x-content-type-options"] == "nosniff"
        for named in re.findall(r'"(?:\./|static/)([\w.-]+\.(?:js|css|svg))', answer.text):
            assert f"/static/{named}" in FILES, f"{path} names {named}"


async def test_nobody_gets_the_page(daemon: Daemon) -> None:
    """Whoever is asked to sign in needs the page to do so; nothing else is opened by that."""
    await daemon.person("anna", "admin")
    for path in FILES:
        assert (await daemon.http.get(path)).status_code == 200
        assert (await daemon.http.head(path)).status_code == 200
    for path in ("/static/secrets.txt", "/static/", "/v1/videos"):
        assert (await daemon.http.get(path)).status_code == 401
    assert (await daemon.http.post("/")).status_code == 401


async def test_remote_callers_get_the_page(daemon: Daemon) -> None:
    """Without accounts a caller from elsewhere is served the page, which tells them why it is of no use to them."""
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    assert (await daemon.http.get("/", headers=forwarded)).status_code == 200
    assert refusal(await daemon.http.get("/v1/account/me", headers=forwarded))[:2] == (403, "forbidden")


async def test_who_would_sign_in(daemon: Daemon) -> None:
    """The page learns without a refusal whether one is let in, and if not, whether signing in would help."""
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    local = (await daemon.http.get("/healthz")).json()
    assert ("version" in local, local["sign_in"]) == (True, False)
    assert (await daemon.http.get("/healthz", headers=forwarded)).json() == {"status": "ok", "sign_in": False}
    anna = await daemon.person("anna", "admin")
    assert (await daemon.http.get("/healthz")).json() == {"status": "ok", "sign_in": True}
    assert "version" in (await anna.http.get("/healthz")).json()


async def test_who_may_be_local(daemon: Daemon) -> None:
    """The page says in both languages whom a daemon without accounts may take for a local caller."""
    for path, words in (("account.js", "a proxy or a tunnel"), ("zh.js", "代理或隧道")):
        assert words in (await daemon.http.get(f"/static/{path}")).text


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/index.html"]
)
async def test_only_its_files(daemon: Daemon, path: str) -> None:
    """No path leads to any other file."""
    assert (await daemon.http.get(path)).status_code == 404


async def test_kept_until_it_changes(daemon: Daemon) -> None:
    """A browser asks each time whether a file has changed, and is told in a few bytes that it has not."""
    first = await daemon.http.get("/static/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await daemon.http.get("/static/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await daemon.http.get("/static/main.js", headers={"If-None-Match": '"old"'})
    assert other.status_code == 200


def test_loaded_at_once() -> None:
    """Every module is named by the page itself: on a slow network none waits for another that imports it."""
    preloaded = re.findall(
        r'<link rel="modulepreload" href="static/([\w-]+\.js)">', (STATIC / "index.html").read_text()
    )
    modules = {path.name for path in STATIC.glob("*.js")} - {"main.js", "early.js", "microphone-worklet.js"}
    assert sorted(preloaded) == sorted(modules)


def test_small() -> None:
    """All of it weighs less than 220 KB, in two languages, and no file of it has more than 400 lines."""
    files = list(STATIC.iterdir())
    assert sum(path.stat().st_size for path in files) < 220_000
    assert {path.name for path in files if len(path.read_text().splitlines()) > 400} == set()
    assert len(files) == len(FILES)


def test_nothing_inline_nothing_elsewhere() -> None:
    """The page has no script or style in its markup, and names no other origin."""
    markup = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", markup)
    for path in STATIC.iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text()), path.name
