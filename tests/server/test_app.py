"""Models, health, documentation, and the shape of every error."""

from __future__ import annotations

import asyncio
import re

import pytest

from echod import __version__
from tests.drivers.asking import refusal
from tests.stand_ins.daemon import Daemon, device_state


async def test_models(daemon: Daemon) -> None:
    """The models are the engines that workers load, the main one first, and of what licence each is."""
    models = (await daemon.http.get("/v1/models")).json()
    assert models["data"][0]["echod"] == {"exact": False, "licence": "Apache-2.0"}
    assert [row["id"] for row in models["data"]] == ["preview", "other"]
    assert {row["object"] for row in models["data"]} == {"model"}


async def test_health(daemon: Daemon) -> None:
    """The daemon is alive even if no worker is."""
    daemon.states = []
    answer = await daemon.http.get("/healthz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok", "version": __version__, "sign_in": False},
    )


@pytest.mark.parametrize(
    ("states", "ready"),
    [(["idle"], True), (["failed", "busy"], True), (["starting"], False), (["failed", "stopping"], False), ([], False)],
)
async def test_readiness(daemon: Daemon, states: list[str], ready: bool) -> None:
    """Ready means that one worker at least is; every device is shown in either case."""
    daemon.states = [device_state(state) for state in states]
    answer = await daemon.http.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == ((200, True) if ready else (503, False))
    assert [device["state"] for device in answer.json()["devices"]] == states


async def test_not_ready_while_draining(daemon: Daemon) -> None:
    """A daemon that is shutting down sends new work elsewhere."""
    daemon.desk.draining = True
    answer = await daemon.http.get("/readyz")
    assert (answer.status_code, answer.json()["draining"]) == (503, True)


async def test_unknown_route(daemon: Daemon) -> None:
    """What is not served is not found, with or without a slash too many."""
    for path in ("/v2/videos", "/v1/videos/", "/v1/videos/a/b/c", "/v1/files/%2e%2e%2fx/content"):
        assert refusal(await daemon.http.get(path))[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/videos", "GET, HEAD, POST, OPTIONS"),
        ("/v1/videos/video_x", "GET, HEAD, DELETE, OPTIONS"),
        ("/v1/videos/video_x/cancel", "POST, OPTIONS"),
        ("/v1/roles/ada", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v1/models/%0A0", "GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
    ],
)
async def test_methods(daemon: Daemon, path: str, allowed: str) -> None:
    """OPTIONS tells all methods of a path, whichever routes they are of, and so does the refusal of any other."""
    answer = await daemon.http.options(path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - set(allowed.split(", ")):
        answer = await daemon.http.request(method, path)
        assert refusal(answer)[:2] == (405, "method_not_allowed"), method
        assert answer.headers["allow"] == allowed


async def test_options_of_everything_and_of_nothing(daemon: Daemon) -> None:
    """The daemon as a whole has its methods, a path that is not served has none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(daemon.base.rpartition(":")[2]))
    writer.write(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = (await reader.read()).decode().lower()
    writer.close()
    assert answer.startswith("http/1.1 204 ")
    assert "\r\nallow: get, head, post, put, patch, delete, options\r\n" in answer
    assert refusal(await daemon.http.options("/nowhere"))[:2] == (404, "not_found")


async def test_other_origins_are_given_no_leave(daemon: Daemon) -> None:
    """What a browser asks before it sends something for a page elsewhere is answered with nothing that it waits for."""
    await daemon.person("anna", "admin")
    asking = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await daemon.http.options("/v1/account/login", headers=asking)
    assert refusal(answer)[:2] == (401, "unauthorized")
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_head(daemon: Daemon) -> None:
    """HEAD is answered wherever GET is, as that would be, but for the body."""
    job = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    paths = daemon.app.openapi()["paths"]
    served = [path.replace("{video_id}", job) for path in paths if "get" in paths[path] and path != "/metrics"]
    for path in ("/", "/docs", "/openapi.json", "/static/base.css", *served):
        head, get = await daemon.http.head(path), await daemon.http.get(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        for name in ("content-type", "content-length", "etag", "content-security-policy"):
            assert head.headers.get(name) == get.headers.get(name), (path, name)


async def test_head_of_what_is_open_to_all(daemon: Daemon) -> None:
    """What is for everybody answers everybody's HEAD."""
    await daemon.person("anna", "admin")
    for path in ("/healthz", "/readyz", "/"):
        assert (await daemon.http.head(path)).status_code == 200
    assert (await daemon.http.head("/v1/models")).status_code == 401


async def test_metrics(daemon: Daemon) -> None:
    """Metrics are Prometheus text, and count this very daemon."""
    await daemon.submit()
    answer = await daemon.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert "echod_queue_jobs 1.0" in lines
    assert 'echod_http_requests_total{method="POST",status="200"} 1.0' in lines


async def test_openapi(daemon: Daemon) -> None:
    """The description names every route, its request body and its errors, and no answer of the framework's own."""
    answer = await daemon.http.get("/openapi.json")
    paths = answer.json()["paths"]
    assert {"/v1/videos", "/v1/videos/{video_id}/stream", "/v1/files", "/v1/models", "/healthz", "/readyz"} <= set(
        paths
    )
    form = paths["/v1/videos"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"input_reference", "audio_reference", "audio_reference[file_id]", "seed"} <= set(form["properties"])
    assert [key for key in form["patternProperties"] if re.match(key, "metadata[title]")]
    assert "HTTPValidationError" not in answer.text
    assert "no_face_detected" in answer.text


async def test_openapi_names_what_may_happen(daemon: Daemon) -> None:
    """Every operation has an id of its own, and each status that any request may be answered with, no other's word."""
    operations = [each for item in daemon.app.openapi()["paths"].values() for each in item.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for each in operations:
        assert {"400", "413", "429", "500", "503", "507"} <= set(each["responses"]), each["summary"]
        assert not {"422", "default"} & set(each["responses"])


async def test_openapi_tells_who_may_ask(daemon: Daemon) -> None:
    """By a token or a session; without accounts also by nothing, and some things always."""
    known: list[dict[str, list[str]]] = [{"token": []}, {"session": []}]
    document = (await daemon.http.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"token", "session", "signature"}
    assert document["paths"]["/v1/videos"]["get"]["security"] == [*known, {}]
    anna = await daemon.person("anna", "admin")
    paths = (await anna.http.get("/openapi.json")).json()["paths"]
    assert paths["/v1/videos"]["get"]["security"] == known
    assert paths["/v1/videos/{video_id}/content"]["get"]["security"] == [*known, {"signature": []}]
    assert [path for path, item in paths.items() for each in item.values() if each["security"] == []] == [
        "/v1/account/login", "/healthz", "/healthz", "/readyz", "/readyz",
    ]  # fmt: skip


async def test_docs_work_offline(daemon: Daemon) -> None:
    """The page lists every route, runs no script and loads nothing from anywhere."""
    answer = await daemon.http.get("/docs")
    for path in (await daemon.http.get("/openapi.json")).json()["paths"]:
        assert path in answer.text
    assert not re.search(r"<script|https?:|src=|@import|url\(", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
