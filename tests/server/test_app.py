"""Models, health, documentation, and the shape of every error."""

from __future__ import annotations

import re

import pytest

from echod import __version__
from tests.server.conftest import Daemon, device_state, refusal


async def test_models(daemon: Daemon) -> None:
    """The models are the engines that workers load, the main one first."""
    models = (await daemon.http.get("/v1/models")).json()
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


async def test_wrong_method(daemon: Daemon) -> None:
    """A method that a route does not know is refused, with those that it knows."""
    answer = await daemon.http.request("PATCH", "/v1/videos/video_x")
    assert refusal(answer)[:2] == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


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
    assert {"input_reference", "audio_reference", "seed", "metadata"} <= set(form["properties"])
    assert "HTTPValidationError" not in answer.text
    assert "no_face_detected" in answer.text


async def test_docs_work_offline(daemon: Daemon) -> None:
    """The page lists every route, runs no script and loads nothing from anywhere."""
    answer = await daemon.http.get("/docs")
    for path in (await daemon.http.get("/openapi.json")).json()["paths"]:
        assert path in answer.text
    assert not re.search(r"<script|https?:|src=|@import|url\(", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
