"""A caller who is no admin sees their own jobs and files, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from echod.server.accounts import Caller
from tests.server.conftest import PORTRAIT, SPEECH, Daemon, receive, refusal


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Act as another account: who calls is decided in one place for HTTP and one for WebSockets, by one function."""

    def act_as(account: str) -> None:
        for module in ("admission", "front"):
            monkeypatch.setattr(f"echod.server.{module}.caller", lambda *_: Caller(account, admin=False))

    return act_as


async def test_strangers(daemon: Daemon, become: Callable[[str], None]) -> None:
    """To another account a job and a file do not exist, whatever is asked of them."""
    become("anna")
    job_id, file_id = await daemon.submit(), await daemon.upload(PORTRAIT)
    speech = await daemon.upload(SPEECH)
    await daemon.hands.complete(await daemon.hands.begin())
    become("bert")
    for method, path in (
        ("GET", f"/v1/videos/{job_id}"), ("GET", f"/v1/videos/{job_id}/content"),
        ("GET", f"/v1/videos/{job_id}/stream"), ("POST", f"/v1/videos/{job_id}/cancel"),
        ("DELETE", f"/v1/videos/{job_id}"), ("GET", f"/v1/files/{file_id}"), ("GET", f"/v1/files/{file_id}/content"),
        ("DELETE", f"/v1/files/{file_id}"),
        ("GET", f"/v1/videos?after={job_id}"), ("GET", f"/v1/files?after={file_id}"),
    ):  # fmt: skip
        assert refusal(await daemon.http.request(method, path))[:2] == (404, "not_found"), path
    body = {"input_reference": {"file_id": file_id}, "audio_reference": {"file_id": speech}}
    assert refusal(await daemon.http.post("/v1/videos", json=body)) == (404, "not_found", "input_reference")
    assert (await daemon.http.get("/v1/videos")).json()["data"] == []
    assert (await daemon.http.get("/v1/files")).json()["data"] == []
    become("anna")
    assert (await daemon.http.get(f"/v1/videos/{job_id}/content")).status_code == 200
    assert len((await daemon.http.get("/v1/files")).json()["data"]) == 2


async def test_events_of_strangers(daemon: Daemon, become: Callable[[str], None]) -> None:
    """A watcher is told of their own jobs only."""
    become("anna")
    await daemon.submit()
    become("bert")
    async with daemon.events() as ws:
        become("anna")
        await daemon.submit()
        become("bert")
        own = await daemon.submit()
        event = await receive(ws)
        assert (event["type"], event["video"]["id"]) == ("job.queued", own)


async def test_keys_of_strangers(daemon: Daemon, become: Callable[[str], None]) -> None:
    """Idempotency keys of two accounts have nothing to do with one another."""
    made = []
    for account in ("anna", "bert"):
        become(account)
        made.append((await daemon.post(headers={"Idempotency-Key": "same"})).json()["id"])
    assert made[0] != made[1]
