"""Ways to get at what is not yours, each tried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from echod.accounts.removal import finish_removals
from echod.accounts.store import SESSION_SECONDS, Accounts
from echod.server.admission import OPEN
from echod.server.caller import COOKIE
from tests.drivers.asking import over_unix_socket, receive, refusal, until
from tests.stand_ins.daemon import PASSWORD, Daemon, Person
from tests.stand_ins.hands import PORTRAIT

pytestmark = pytest.mark.timeout(60)

EVIL = "http://evil.example"
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
async def anna(daemon: Daemon) -> Person:
    return await daemon.person("anna", "admin")


@pytest.fixture
async def bert(daemon: Daemon, anna: Person) -> Person:
    return await daemon.person("bert")


async def log_in(daemon: Daemon, name: str, password: str = PASSWORD, **options: Any) -> httpx.Response:
    return await daemon.http.post("/v1/account/login", json={"name": name, "password": password}, **options)


async def cookie(daemon: Daemon, name: str) -> dict[str, str]:
    """What a browser that has logged in sends along."""
    answer = await log_in(daemon, name)
    assert answer.status_code == 200, answer.text
    daemon.http.cookies.clear()
    return {"Cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}


async def handshake(daemon: Daemon, **headers: str) -> int:
    """The status of a WebSocket handshake."""
    try:
        async with daemon.events(additional_headers=headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


async def get(daemon: Daemon, path: str, **headers: str) -> int:
    return (await daemon.http.get(path, headers=headers)).status_code


# Ids


async def test_every_route_with_an_id(daemon: Daemon, anna: Person, bert: Person) -> None:
    """No route that takes an id gives another account anything, nor admits that there is something."""
    job, file = await daemon.submit(anna), await daemon.upload(PORTRAIT, person=anna)
    token = (await anna.http.get("/v1/account/tokens")).json()["data"][0]["id"]
    ids = {"{video_id}": job, "{file_id}": file, "{token_id}": token}
    tried = 0
    for path, operations in daemon.app.openapi()["paths"].items():
        for name, value in ids.items():
            for method in operations if name in path else ():
                answer = await bert.http.request(method.upper(), path.replace(name, value))
                if method == "options":  # looks for nothing
                    assert answer.status_code == 204
                    continue
                assert answer.status_code == 404, (method, path)
                assert method == "head" or refusal(answer)[1] == "not_found"
                tried += 1
    assert tried >= 9
    assert (await daemon.desk.find(job, None)).status == "queued"
    assert [await get(daemon, f"/v1/videos/{job}"), await get(daemon, f"/v1/files/{file}")] == [401, 401]


async def test_routes_for_admins(daemon: Daemon, bert: Person) -> None:
    """What is for admins is refused to everybody else, even about themselves."""
    for method, path, body in (
        ("GET", "/v1/accounts", None),
        ("POST", "/v1/accounts", {"name": "eve", "password": PASSWORD, "role": "admin"}),
        ("PUT", "/v1/accounts/bert/password", {"password": PASSWORD}),
        ("DELETE", "/v1/accounts/bert", None),
        ("DELETE", "/v1/accounts/nobody", None),
        ("POST", "/v1/account/tokens", {"name": "t", "account": "anna"}),
        ("POST", "/v1/account/tokens", {"name": "t", "account": "nobody"}),
        ("GET", "/metrics", None),
    ):
        assert refusal(await bert.http.request(method, path, json=body))[:2] == (403, "forbidden"), path
    assert [account.name for account in daemon.accounts.all()] == ["anna", "bert"]
    assert "devices" not in (await bert.http.get("/readyz")).json()
    assert (await bert.http.get("/v1/account/me")).json()["role"] == "user"


async def test_a_token_for_metrics(daemon: Daemon, anna: Person, bert: Person) -> None:
    """It reads /metrics and is refused everywhere else, HTTP and WebSockets alike; only admins make one."""
    asked = {"name": "prometheus", "role": "metrics"}
    assert refusal(await bert.http.post("/v1/account/tokens", json=asked))[:2] == (403, "forbidden")
    made = (await anna.http.post("/v1/account/tokens", json=asked)).json()
    assert made["role"] == "metrics"
    bearer = {"Authorization": f"Bearer {made['token']}"}
    async with daemon.client(base_url=daemon.base, headers=bearer) as prometheus:
        assert "echod_build_info" in (await prometheus.get("/metrics")).text
        assert (await prometheus.head("/metrics")).status_code == 200
        assert refusal(await prometheus.post("/metrics"))[0] == 403
        paths = daemon.app.openapi()["paths"]
        for path, operations in paths.items():
            for method in operations.keys() - {"options", "head"}:
                if (method.upper(), path) not in OPEN and path != "/metrics":
                    answer = await prometheus.request(method, path)
                    assert refusal(answer)[:2] == (403, "forbidden"), (method, path)
        assert "devices" not in (await prometheus.get("/readyz")).json()
    for path in ("/v1/events", "/v1/realtime?model=auto", "/v1/avatar"):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{daemon.base.replace('http', 'ws')}{path}", additional_headers=bearer):
                pass
        assert refused.value.response.status_code == 403
    await anna.http.delete(f"/v1/account/tokens/{made['id']}")
    assert (await daemon.http.get("/metrics", headers=bearer)).status_code == 401


@pytest.mark.parametrize(
    "guess",
    [
        "video_",
        "%25",
        "*",
        "video_%25",
        "%00",
        "video_" + "0" * 32,
        "' OR 1=1 --",
        "%2e%2e",
        "x" * 10_000,
        "视频",
        "None",
    ],
)
async def test_guessed_ids(daemon: Daemon, anna: Person, bert: Person, guess: str) -> None:
    """Wildcards, nulls and near misses are ids of nothing."""
    await daemon.submit(anna)
    await daemon.upload(PORTRAIT, person=anna)
    for kind in ("videos", "files"):
        for tail in ("", "/content"):
            for person in (anna, bert):
                assert (await person.http.get(f"/v1/{kind}/{guess}{tail}")).status_code == 404


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\..\\x", "/etc/passwd", "a\0b.png", "a\r\nX-Evil: 1", 'a";b="']
)
async def test_names_with_paths(daemon: Daemon, anna: Person, name: str) -> None:
    """A file's name chooses no place on disk, and adds nothing to a header."""
    form = {"file": (name, PORTRAIT)}
    answer = await anna.http.post("/v1/files", files=form)
    if answer.status_code == 200:
        content = await anna.http.get(f"/v1/files/{answer.json()['id']}/content")
        assert "x-evil" not in content.headers
        disposition = content.headers["content-disposition"]
        assert disposition.startswith("attachment; filename")
        assert not {"/", "\\", "\r", "\n", "\0"} & set(disposition)
        assert disposition.count('"') in (0, 2)
    state = daemon.config.state_dir
    assert {path.name for path in state.iterdir()} <= {
        "files", "jobs", "roles", "cache", "echod.sqlite3", "echod.sqlite3-wal", "echod.sqlite3-shm",
    }  # fmt: skip
    assert all(path.name in ("upload", "portrait.png") for path in (state / "files").glob("*/*"))


# Signed addresses


async def urls(daemon: Daemon, person: Person) -> tuple[str, str, dict[str, str]]:
    """A job with a clip, a file, and their signed addresses without the base."""
    job = await daemon.submit(person)
    await daemon.hands.complete(await daemon.hands.begin())
    file = await daemon.upload(PORTRAIT, person=person)
    video = (await person.http.get(f"/v1/videos/{job}")).json()["echod"]
    found = {name: video[f"{name}url"] for name in ("", "thumbnail_", "stream_")}
    found["file"] = (await person.http.get(f"/v1/files/{file}")).json()["echod"]["url"]
    return job, file, {name: url.removeprefix(daemon.base) for name, url in found.items()}


async def test_signed_addresses(daemon: Daemon, anna: Person, bert: Person) -> None:
    """They open what they name to anybody, by any host and from any page, and may be shown on pages elsewhere."""
    _, _, signed = await urls(daemon, anna)
    for url in signed.values():
        for headers in ({}, {"Host": "evil.example", "Origin": EVIL, "X-Forwarded-For": "10.0.0.1"}, bert.bearer):
            answer = await daemon.http.get(url, headers=headers)
            assert answer.status_code == 200, url
            assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert (await daemon.http.head(url)).status_code == 200
    part = await daemon.http.get(signed[""], headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")


async def test_signed_address_with_one_character_changed(daemon: Daemon, anna: Person) -> None:
    """Whichever it is, the address is no good."""
    _, _, signed = await urls(daemon, anna)
    url = signed["file"]
    for place in range(url.index("file_"), len(url)):
        other = "1" if url[place] != "1" else "2"
        changed = url[:place] + other + url[place + 1 :]
        assert await get(daemon, changed) in (401, 404), changed
        assert await get(daemon, url[:place]) == 401
    assert await get(daemon, url + "A") == 401
    assert await get(daemon, url + "&signature=x") == 401
    assert await get(daemon, url + "&variant=video") == 401


async def test_signed_address_of_something_else(daemon: Daemon, anna: Person) -> None:
    """A signature is good for one resource: no other id, no other kind, no other method, no list."""
    job, file, signed = await urls(daemon, anna)
    other = await daemon.upload(PORTRAIT, person=anna)
    query = signed["file"].partition("?")[2]
    clip, thumbnail, stream = (signed[name].partition("?")[2] for name in ("", "thumbnail_", "stream_"))
    for path in (
        f"/v1/files/{other}/content?{query}", f"/v1/files/{file}?{query}", f"/v1/files?{query}", f"/v1/videos?{query}",
        f"/v1/videos/{job}/content?{query}", f"/v1/videos/{job}/stream?{clip}", f"/v1/videos/{job}/content?{stream}",
        f"/v1/videos/{job}/content?variant=thumbnail&{clip}", f"/v1/videos/{job}?{clip}", f"/metrics?{clip}",
        f"/v1/videos/{job}/content?{thumbnail.removeprefix('variant=thumbnail&')}",
    ):  # fmt: skip
        assert await get(daemon, path) == 401, path
    for method in ("DELETE", "POST", "PUT", "PATCH", "OPTIONS"):
        for url in signed.values():
            assert (await daemon.http.request(method, url)).status_code == 401
    assert (await daemon.http.delete(f"/v1/files/{file}?{query}")).status_code == 401
    assert await handshake(daemon) == 401


@pytest.mark.parametrize("limits", [{"keep_uploads": "48h"}])
async def test_expired_address(daemon: Daemon, anna: Person) -> None:
    """An address ends with its time, which cannot be put off; a new one is good again."""
    _, file, signed = await urls(daemon, anna)
    assert await get(daemon, signed["file"]) == 200
    daemon.skew = 22 * HOUR
    assert await get(daemon, signed["file"]) == 200
    daemon.skew = DAY
    assert await get(daemon, signed["file"]) == 401
    fresh = (await anna.http.get(f"/v1/files/{file}")).json()["echod"]["url"].removeprefix(daemon.base)
    assert await get(daemon, fresh) == 200
    expires = fresh.partition("expires=")[2].partition("&")[0]
    assert await get(daemon, fresh.replace(expires, str(int(expires) + 1))) == 401


async def test_address_replayed_after_deletion(daemon: Daemon, anna: Person) -> None:
    """What is deleted is gone for its addresses too."""
    job, file, signed = await urls(daemon, anna)
    for path in (f"/v1/videos/{job}", f"/v1/files/{file}"):
        assert (await anna.http.delete(path)).status_code == 200
    for url in signed.values():
        assert refusal(await daemon.http.get(url))[:2] == (404, "not_found")


# Browsers


async def test_cross_origin_websocket(daemon: Daemon, anna: Person) -> None:
    """A page elsewhere cannot listen with a visitor's cookie, nor can what names no origin."""
    session = await cookie(daemon, "anna")
    assert await handshake(daemon, **session, Origin=EVIL) == 403
    assert await handshake(daemon, **session, Origin="null") == 403
    assert await handshake(daemon, **session) == 403
    assert await handshake(daemon, Origin=EVIL) == 401
    assert await handshake(daemon, **session, Origin=daemon.base) == 101
    assert await handshake(daemon, **anna.bearer) == 101


@pytest.mark.parametrize("origin", [EVIL, "null", "", None, "http://127.0.0.1", "http://localhost.evil.example"])
async def test_cross_site_post_with_the_cookie(daemon: Daemon, anna: Person, origin: str | None) -> None:
    """A request that changes something needs our own page behind it."""
    session = await cookie(daemon, "anna")
    headers = session if origin is None else session | {"Origin": origin}
    assert refusal(await daemon.post(headers=headers))[:2] == (403, "forbidden")
    job = await daemon.submit(anna)
    for method, path in (
        ("POST", f"/v1/videos/{job}/cancel"), ("DELETE", f"/v1/videos/{job}"), ("POST", "/v1/account/logout"),
        ("DELETE", "/v1/accounts/anna"),
    ):  # fmt: skip
        assert refusal(await daemon.http.request(method, path, headers=headers))[1] == "forbidden"
    assert (await daemon.http.get("/v1/videos", headers=headers)).status_code == (200 if origin is None else 403)
    assert (await daemon.http.get("/v1/videos", headers=session | {"Origin": daemon.base})).status_code == 200
    assert (await daemon.post(headers=session | {"Origin": daemon.base})).status_code == 200


async def test_cross_site_login(daemon: Daemon, anna: Person) -> None:
    """A page elsewhere cannot log its visitor in, neither by JSON nor by a form."""
    assert refusal(await log_in(daemon, "anna", headers={"Origin": EVIL}))[:2] == (403, "forbidden")
    form = json.dumps({"name": "anna", "password": PASSWORD})
    answer = await daemon.http.post("/v1/account/login", content=form, headers={"Content-Type": "text/plain"})
    assert refusal(answer)[:2] == (400, "invalid_request")


async def test_cookie(daemon: Daemon, anna: Person) -> None:
    """No script reads it, no other site's request carries it; by https it is never sent in clear."""
    answer = await log_in(daemon, "anna")
    parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert "secure" not in parts
    assert answer.json() == (await anna.http.get("/v1/account/me")).json()
    daemon.settings.now = daemon.changed(public_url="https://clips.example.org")
    for headers in ({"X-Forwarded-Proto": "https"}, {"Host": "clips.example.org"}):
        assert "secure" in (await log_in(daemon, "anna", headers=headers)).headers["set-cookie"].lower()


@pytest.mark.parametrize(("path", "spelled"), [("/echod", "/echod"), ("/回声", "/%E5%9B%9E%E5%A3%B0")])
async def test_cookie_of_a_path(daemon: Daemon, anna: Person, path: str, spelled: str) -> None:
    """The rest of a site gets no session to see; a page elsewhere, as on the machine itself, one that it can use."""
    daemon.settings.now = daemon.changed(public_url=f"https://www.example.org{path}")
    for origin, paths in (("https://www.example.org", [spelled, "/"]), (daemon.base, ["/"]), (None, ["/"])):
        headers = {"Origin": origin} if origin else {}
        answer = await log_in(daemon, "anna", headers=headers)
        daemon.http.cookies.clear()
        (session, first), *ended = set_cookies(answer)
        assert first == paths[0]
        assert ended == [('""', path) for path in paths[1:]]
        headers = {"Origin": origin or daemon.base, "Cookie": f"{COOKIE}={session}"}
        assert await get(daemon, "/v1/videos", **headers) == 200
        out = await daemon.http.post("/v1/account/logout", headers=headers)
        assert sorted(set_cookies(out)) == sorted(('""', path) for path in paths)


def set_cookies(answer: httpx.Response) -> list[tuple[str, str]]:
    """The value and the path of each."""
    lines = [line.split("; ") for line in answer.headers.get_list("set-cookie")]
    paths = [next(part.removeprefix("Path=") for part in line if part.startswith("Path=")) for line in lines]
    return [(line[0].partition("=")[2], path) for line, path in zip(lines, paths, strict=True)]


async def test_behind_a_proxy(daemon: Daemon, anna: Person) -> None:
    """Behind a proxy credentials decide, and the page may be that of public_url."""
    session = await cookie(daemon, "anna") | {"X-Forwarded-For": "10.0.0.7", "Origin": "https://clips.example.org"}
    assert (await daemon.post(headers=session)).status_code == 403
    daemon.settings.now = daemon.changed(public_url="https://clips.example.org/echod")
    assert (await daemon.post(headers=session)).status_code == 200
    assert await handshake(daemon, **session) == 101
    assert (await daemon.post(headers=session | {"Origin": EVIL})).status_code == 403


async def test_two_cookies(daemon: Daemon, anna: Person, bert: Person) -> None:
    """A cookie that a neighbouring site sets beside ours makes nobody somebody else."""
    hers, his = await cookie(daemon, "anna"), await cookie(daemon, "bert")
    assert await get(daemon, "/v1/videos", Cookie=f"{hers['Cookie']}; {his['Cookie']}") == 401
    assert await get(daemon, "/v1/videos", Cookie=f"other=1; {hers['Cookie']}") == 200


@pytest.mark.parametrize("people", [False, True])
async def test_rebinding_host(daemon: Daemon, people: bool) -> None:
    """A page that rebinds its name to this machine gets nothing, with accounts or without."""
    if people:
        await daemon.person("anna", "admin")
    denied = 401 if people else 403
    for path in ("/v1/videos", "/v1/models", "/docs", "/openapi.json", "/metrics", "/v1/account/me", "/nowhere"):
        assert await get(daemon, path, Host="evil.example") == denied, path
    assert (await daemon.post(headers={"Host": "evil.example", "Origin": EVIL})).status_code == denied
    assert await handshake(daemon, Origin=EVIL) == denied
    for path in ("/healthz", "/readyz"):
        answer = await daemon.http.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 200
        assert not {"devices", "version"} & set(answer.json())


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"])
async def test_forwarded_from_loopback(daemon: Daemon, header: str) -> None:
    """What a proxy on this machine passes on is remote, whatever it claims, on either socket."""
    claim = {header: "127.0.0.1"}
    async with over_unix_socket(daemon) as unix:
        assert (await unix.get("/v1/videos")).status_code == 200
        assert [
            (await unix.get("/v1/videos", headers=claim)).status_code,
            await get(daemon, "/v1/videos", **claim),
        ] == [403] * 2
        anna = await daemon.person("anna", "admin")
        assert [
            (await unix.get("/v1/videos", headers=claim)).status_code,
            await get(daemon, "/v1/videos", **claim),
        ] == [401] * 2
        assert (await unix.get("/v1/videos", headers=claim | anna.bearer)).status_code == 200
        assert (await unix.get("/v1/videos")).status_code == 401  # the connection is a proxy's
        assert (await unix.get("/v1/videos", headers=anna.bearer)).status_code == 200
    async with over_unix_socket(daemon) as unix:
        assert (await unix.get("/v1/videos")).status_code == 200


# Tokens and sessions


async def test_token_in_a_url(daemon: Daemon, anna: Person) -> None:
    """A token stands in a header or nowhere."""
    port = daemon.base.rpartition(":")[2]
    for name in ("token", "access_token", "api_key", "key", "Authorization", COOKIE):
        answer = await daemon.http.get("/v1/videos", params={name: anna.token})
        assert refusal(answer)[:2] == (401, "unauthorized")
        assert anna.token not in answer.text
    assert (await daemon.http.get(f"http://{anna.token}@127.0.0.1:{port}/v1/videos")).status_code == 401
    assert (await daemon.http.get(f"http://anna:{anna.token}@127.0.0.1:{port}/v1/videos")).status_code == 401


async def test_tokens_that_are_none(daemon: Daemon, anna: Person) -> None:
    """Truncated, changed, another scheme, twice, a session's, a hash, nothing: all are answered alike."""
    session = (await cookie(daemon, "anna"))["Cookie"].partition("=")[2]
    digest = daemon.accounts.tokens("anna")[0].digest
    values = [
        anna.token[:-1],
        anna.token + "A",
        anna.token[:-1] + "_",
        anna.token.upper(),
        anna.token.removeprefix("echod_"),
        digest,
        session,
        "é",
        "none",
    ]
    answers = [
        await daemon.http.get("/v1/videos", headers={b"Authorization": f"Bearer {value}".encode()}) for value in values
    ]
    answers.append(await daemon.http.get("/v1/videos", headers={"Authorization": f"Basic {anna.token}"}))
    answers.append(await daemon.http.get("/v1/videos", headers={"Authorization": anna.token}))
    answers.append(await daemon.http.get("/v1/videos", headers=[("Authorization", f"Bearer {anna.token}")] * 2))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert {refusal(answer)[:2] for answer in answers} == {(401, "unauthorized")}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert await get(daemon, "/v1/videos", Cookie=f"{COOKIE}={anna.token}", Origin=daemon.base) == 401
    async with over_unix_socket(daemon) as unix:  # who shows a bad token is not let in for being local
        assert (await unix.get("/v1/videos", headers={"Authorization": "Bearer none"})).status_code == 401


async def test_revoked_token(daemon: Daemon, anna: Person, bert: Person) -> None:
    """It opens nothing any more, and what it had opened is closed: sockets, streams, a body on its way."""
    await daemon.submit(bert)
    async with daemon.events(person=bert) as his, daemon.events(person=anna) as hers:
        await receive(his), await receive(hers)
        [row] = (await bert.http.get("/v1/account/tokens")).json()["data"]
        job = (await bert.http.get("/v1/videos")).json()["data"][0]["id"]
        streaming = asyncio.create_task(bert.http.get(f"/v1/videos/{job}/stream"))
        await until(lambda: len(daemon.desk.feed.watchers) == 3)
        body = SlowBody(b'{"name": "another"}')
        making = asyncio.create_task(bert.http.post("/v1/account/tokens", content=body, headers=JSON))
        await body.begun.wait()
        assert (await anna.http.delete(f"/v1/account/tokens/{row['id']}")).status_code == 200
        body.go_on.set()
        with pytest.raises(ConnectionClosedError, match=r"1008.*credentials"):
            await his.recv()
        with pytest.raises(httpx.RemoteProtocolError):
            await streaming
        assert refusal(await making)[:2] == (401, "unauthorized")
        await daemon.submit(anna)
        assert (await receive(hers))["type"] == "job.queued"
    assert (await bert.http.get("/v1/videos")).status_code == 401
    assert daemon.accounts.tokens("bert") == []
    assert refusal(await anna.http.delete(f"/v1/account/tokens/{row['id']}"))[:2] == (404, "not_found")


JSON = {"Content-Type": "application/json"}


class SlowBody:
    """A request body whose second half waits."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.data[:5]
        self.begun.set()
        await self.go_on.wait()
        yield self.data[5:]


async def test_expired_token(daemon: Daemon, anna: Person) -> None:
    """It ends by itself, closes its socket, and cannot have made one that outlives it."""
    made = (await anna.http.post("/v1/account/tokens", json={"name": "short", "expires_in": 600})).json()
    short = Person("anna", made["token"], daemon.http)
    child = (await daemon.http.post("/v1/account/tokens", json={"name": "longer"}, headers=short.bearer)).json()
    assert child["expires_at"] == made["expires_at"]
    longer = {"name": "longer", "expires_in": 3600}
    child = (await daemon.http.post("/v1/account/tokens", json=longer, headers=short.bearer)).json()
    assert child["expires_at"] == made["expires_at"]
    assert await get(daemon, "/v1/videos", **short.bearer) == 200
    daemon.skew = 599.5
    async with daemon.events(person=short) as ws:
        with pytest.raises(ConnectionClosedError, match=r"1008.*credentials"):
            await ws.recv()
    daemon.skew = 600
    assert await get(daemon, "/v1/videos", **short.bearer) == 401
    assert await handshake(daemon, **short.bearer) == 401
    assert await get(daemon, "/v1/videos", Authorization=f"Bearer {child['token']}") == 401
    assert await get(daemon, "/v1/videos", **anna.bearer) == 200


async def test_sessions_end(daemon: Daemon, anna: Person, bert: Person) -> None:
    """By logging out, by time, and with the password."""
    sessions = [await cookie(daemon, "bert") | {"Origin": daemon.base} for _ in range(3)]
    out = await daemon.http.post("/v1/account/logout", headers=sessions[0])
    assert (out.status_code, "max-age=0" in out.headers["set-cookie"].lower()) == (200, True)
    assert [await get(daemon, "/v1/videos", **session) for session in sessions] == [401, 200, 200]
    assert refusal(await bert.http.post("/v1/account/logout"))[0] == 400
    async with daemon.events(additional_headers=sessions[1]) as ws:
        change = {"current_password": PASSWORD, "password": "another one"}
        wrong = await daemon.http.put(
            "/v1/account/password", json=change | {"current_password": "x"}, headers=sessions[1]
        )
        assert refusal(wrong)[:2] == (401, "unauthorized")
        assert (await daemon.http.put("/v1/account/password", json=change, headers=sessions[1])).status_code == 200
        with pytest.raises(ConnectionClosedError, match="1008"):
            await ws.recv()
    assert [await get(daemon, "/v1/videos", **session) for session in sessions] == [401, 401, 401]
    assert await get(daemon, "/v1/videos", **bert.bearer) == 401
    assert refusal(await log_in(daemon, "bert"))[:2] == (401, "unauthorized")
    daemon.skew = 3600
    assert (await log_in(daemon, "bert", "another one")).status_code == 200
    last = await cookie(daemon, "anna")
    daemon.skew += SESSION_SECONDS
    assert await get(daemon, "/v1/videos", **last) == 401


async def test_hoarding(daemon: Daemon, anna: Person, bert: Person) -> None:
    """Neither tokens nor sessions can be made without end, by whomever, and a setting says how many may be."""
    daemon.settings.now = daemon.changed(tokens_per_account=3, sessions_per_account=2)
    made = [(await bert.http.post("/v1/account/tokens", json={"name": "x"})).status_code for _ in range(4)]
    assert made == [200, 200, 429, 429]
    refused = await anna.http.post("/v1/account/tokens", json={"name": "x", "account": "bert"})
    assert refusal(refused)[:2] == (429, "quota_exceeded")
    assert "at most 3 are allowed (tokens_per_account)" in refused.text
    assert (await anna.http.post("/v1/account/tokens", json={"name": "x"})).status_code == 200
    sessions = [await cookie(daemon, "bert") for _ in range(3)]
    assert [await get(daemon, "/v1/videos", **session) for session in sessions] == [401, 200, 200]


# Passwords


async def test_wrong_name_costs_what_a_wrong_password_does(
    daemon: Daemon, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One verification each, and the same answer to the letter."""
    verified = count_verifications(daemon, monkeypatch)
    wrong_password, wrong_name = await log_in(daemon, "anna", "no such password"), await log_in(daemon, "nobody")
    assert len(verified) == 2
    assert [hash.split("$")[1:4] for hash in verified] == [verified[0].split("$")[1:4]] * 2  # the same cost
    assert wrong_password.text == wrong_name.text
    assert refusal(wrong_name)[:2] == (401, "unauthorized")
    assert wrong_password.headers.keys() == wrong_name.headers.keys()
    for name in ("local", "", "ANNA", "anna\0", "x" * 5000):
        assert (await log_in(daemon, name)).text == wrong_name.text
    assert len(verified) == 7


async def test_a_hundred_logins(daemon: Daemon, anna: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred at once a few are looked at; the others cost nothing and hear when to come back."""
    verified = count_verifications(daemon, monkeypatch)
    monkeypatch.setattr(daemon, "clock", lambda: 1e9)
    answers = await asyncio.gather(*(log_in(daemon, "anna", f"guess {number}") for number in range(100)))
    codes = [refusal(answer)[1] for answer in answers]
    assert codes.count("unauthorized") == len(verified) == 10
    assert codes.count("rate_limited") == 90
    assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 429} <= {"3", "6"}
    assert refusal(await log_in(daemon, "anna"))[1] == "rate_limited"  # though it is the right one
    monkeypatch.setattr(daemon, "clock", lambda: 1e9 + 60)
    assert (await log_in(daemon, "anna")).status_code == 200


async def test_many_names_from_one_address(daemon: Daemon, anna: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going through names helps no more than going through passwords."""
    verified = count_verifications(daemon, monkeypatch)
    monkeypatch.setattr(daemon, "clock", lambda: 1e9)
    answers = await asyncio.gather(*(log_in(daemon, f"name{number}") for number in range(100)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(401) == len(verified) <= 20
    assert statuses.count(429) == 100 - len(verified)


async def test_many_visitors_behind_a_proxy(daemon: Daemon, anna: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who guesses holds up nobody else behind the same proxy, by whatever else the header claims."""
    monkeypatch.setattr(daemon, "clock", lambda: 1e9)
    for number in range(30):
        last = await log_in(
            daemon, f"name{number}", headers={"X-Forwarded-For": f"10.0.0.{number}, 2001:db8::{number}"}
        )
    assert last.status_code == 429
    assert (await log_in(daemon, "anna", headers={"X-Forwarded-For": "2001:db8:0:1::1"})).status_code == 200


def count_verifications(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that passwords are compared with from now on."""
    verified: list[str] = []
    hasher = type(daemon.accounts._passwords._hasher)
    real = hasher.verify

    def verify(self: Any, hash: str, password: bytes) -> bool:
        verified.append(hash)
        return real(self, hash, password)

    monkeypatch.setattr(hasher, "verify", verify)
    return verified


# Accounts that come and go


async def test_the_first_account_ends_open_house(daemon: Daemon) -> None:
    """Who was the local admin for being on loopback is nobody at once, connections included; the unix socket stays."""
    async with daemon.events() as ws, over_unix_socket(daemon) as unix:
        await daemon.submit()
        await receive(ws)
        first = {"name": "anna", "password": PASSWORD, "role": "user"}
        assert refusal(await unix.post("/v1/accounts", json=first)) == (400, "invalid_request", "role")
        assert (await unix.post("/v1/accounts", json=first | {"role": "admin"})).status_code == 200
        with pytest.raises(ConnectionClosedError, match="1008"):
            await ws.recv()
        assert await get(daemon, "/v1/videos") == 401
        assert len((await unix.get("/v1/videos")).json()["data"]) == 1
        assert (await unix.get("/v1/account/me")).json()["name"] == "local"
        assert (await unix.delete("/v1/accounts/anna")).status_code == 200
    assert await get(daemon, "/v1/videos") == 200


async def test_the_last_admin(daemon: Daemon, anna: Person, bert: Person) -> None:
    """Cannot go while there are others, not even two at the same moment."""
    assert refusal(await anna.http.delete("/v1/accounts/anna"))[:2] == (403, "forbidden")
    cleo = await daemon.person("cleo", "admin")
    both = await asyncio.gather(anna.http.delete("/v1/accounts/cleo"), cleo.http.delete("/v1/accounts/anna"))
    assert sorted(answer.status_code for answer in both) in ([200, 401], [200, 403])
    assert [account.role for account in daemon.accounts.all()].count("admin") == 1


async def test_a_removed_account_leaves_nothing(daemon: Daemon, anna: Person, bert: Person) -> None:
    """Its jobs, clips, files, tokens, sessions and sockets go; whoever gets the name next starts with nothing."""
    await urls(daemon, bert)
    await daemon.submit(bert)
    hers = await daemon.submit(anna)
    session = await cookie(daemon, "bert")
    async with daemon.events(person=bert) as ws:
        await receive(ws)
        assert (await anna.http.delete("/v1/accounts/bert")).status_code == 200
        with pytest.raises(ConnectionClosedError, match="1008"):
            while True:
                await ws.recv()
    assert {path.name for path in (daemon.config.state_dir / "jobs").iterdir()} == {hers}
    assert list((daemon.config.state_dir / "files").iterdir()) == []
    again = await daemon.person("bert")
    assert (await again.http.get("/v1/videos")).json()["data"] == []
    assert (await again.http.get("/v1/files")).json()["data"] == []
    assert [await get(daemon, "/v1/videos", **old) for old in (bert.bearer, session)] == [401, 401]


async def test_an_upload_while_its_account_is_removed(daemon: Daemon, anna: Person, bert: Person) -> None:
    """What was on its way is cut off, however long it would have taken; nothing of it is left."""
    body = SlowBody(b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\na picture\r\n--b--\r\n')
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    uploading = asyncio.create_task(bert.http.post("/v1/files", content=body, headers=form))
    await until(lambda: bool(daemon.files.unfinished))
    removing = asyncio.create_task(anna.http.delete("/v1/accounts/bert"))
    assert (await removing).status_code == 200
    body.go_on.set()
    with pytest.raises(httpx.TransportError):
        await uploading
    assert list((daemon.config.state_dir / "files").iterdir()) == []
    assert await daemon.files.rows.select("bert") == []


async def test_removal_goes_on_after_a_restart(daemon: Daemon, anna: Person, bert: Person) -> None:
    """A daemon that died while an account was removed removes the rest when it starts."""
    theirs, hers = await daemon.submit(bert), await daemon.submit(anna)
    await daemon.upload(PORTRAIT, person=bert)
    await daemon.accounts.begin_removal("bert")
    again = Accounts(daemon.desk.rows.journal)
    await again.open()
    assert again.leaving() == ["bert"]
    await finish_removals(again, daemon.desk, daemon.files, daemon.usage)
    assert [account.name for account in again.all()] == ["anna"]
    assert [job.id for job in await daemon.desk.rows.select()] == [hers]
    assert not daemon.desk.directory(theirs).exists()
    assert list((daemon.config.state_dir / "files").iterdir()) == []
