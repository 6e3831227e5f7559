"""Whatever fails inside, no secret is logged or told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import httpx
import pytest
from websockets.exceptions import WebSocketException

from echod.errors import EchodError
from echod.server.caller import COOKIE
from tests.stand_ins.daemon import PASSWORD, Daemon, Person
from tests.stand_ins.hands import PORTRAIT, SPEECH

ENDING = ("/v1/account/logout", "/v1/account/password")  # after these, the credentials are no good
SIGNING_KEY = b"k" * 32  # the one of tests/stand_ins/daemon.py


async def every_operation(daemon: Daemon, person: Person, session: str) -> list[httpx.Response]:
    """Every route that takes or makes a secret, or that is asked with one."""
    ids = {"{video_id}": "video_1", "{file_id}": "file_1", "{token_id}": "token_1", "{name}": "bert"}
    bodies: dict[str, Any] = {
        "/v1/account/login": {"name": "anna", "password": PASSWORD},
        "/v1/account/password": {"current_password": PASSWORD, "password": PASSWORD},
        "/v1/accounts": {"name": "cleo", "password": PASSWORD, "role": "user"},
        "/v1/accounts/{name}/password": {"password": PASSWORD},
        "/v1/account/tokens": {"name": "second"},
    }
    files = {"input_reference": ("p.png", PORTRAIT), "audio_reference": ("s.wav", SPEECH)}
    answers = [
        await person.http.post("/v1/videos", files=files),
        await person.http.post("/v1/files", files={"file": ("p.png", PORTRAIT)}),
    ]
    paths = daemon.app.openapi()["paths"]
    for path, operations in sorted(paths.items(), key=lambda item: item[0] in ENDING):
        url = path
        for name, value in ids.items():
            url = url.replace(name, value)
        for method in operations:
            for headers in (person.bearer, {"Cookie": f"{COOKIE}={session}", "Origin": daemon.base}):
                body = {"json": bodies[path]} if path in bodies else {}
                answers.append(await daemon.http.request(method.upper(), url, headers=headers, **body))
    with contextlib.suppress(WebSocketException):
        async with daemon.events(person=person) as ws:
            await ws.send("hello")
    return answers


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("it broke")


def full(*_: Any) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(EchodError("disk_full", "the journal cannot be written"))
    return future


@pytest.mark.parametrize(
    "breaking",
    ["nothing", "journal", "journal_raises", "passwords", "signer", "desk", "files", "inspector", "accounts", "feed"],
)
async def test_when_something_breaks(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, breaking: str
) -> None:
    """Logs at their most talkative, answers and metrics hold no password, token, session or signing key."""
    caplog.set_level(logging.DEBUG, logger="echod")
    anna = await daemon.person("anna", "admin")
    await daemon.person("bert")
    session = await daemon.accounts.login("anna", PASSWORD, "test")
    journal = daemon.desk.rows.journal
    targets: dict[str, list[tuple[Any, str, Any]]] = {
        "nothing": [],
        "journal": [(journal, "do", full)],
        "journal_raises": [(journal, "do", broken)],
        "passwords": [(daemon.accounts._passwords, name, broken) for name in ("hash", "verify")],
        "signer": [(daemon.signer, name, broken) for name in ("sign", "opens")],
        "desk": [(daemon.desk, name, broken) for name in ("accept", "find", "list", "cancel", "remove", "check_open")],
        "files": [(daemon.files, name, broken) for name in ("receive", "find", "list", "delete")],
        "inspector": [(daemon.inspector, "inspect", broken)],
        "accounts": [
            (daemon.accounts, name, broken)
            for name in ("add", "all", "find", "login", "verify", "set_password", "create_token", "tokens", "logout")
        ],
        "feed": [(daemon.desk.feed, "watch", broken)],
    }
    for owner, name, instead in targets[breaking]:
        monkeypatch.setattr(owner, name, instead)
    answers = await every_operation(daemon, anna, session)
    monkeypatch.undo()
    if breaking not in ("nothing", "feed"):
        assert {answer.status_code for answer in answers} & {500, 507}, breaking
    told = [answer.text + str(answer.headers) for answer in answers if "/v1/account/" not in str(answer.url)]
    told += [
        answer.text
        for answer in answers
        if answer.is_error or not str(answer.url).endswith(("/v1/account/tokens", "/v1/account/login"))
    ]
    told += [caplog.text, daemon.metrics.render().decode()]
    secrets = (PASSWORD, anna.token, anna.token.removeprefix("echod_"), session, SIGNING_KEY.decode())
    for text in told:
        assert not [secret for secret in secrets if secret in text]
    if breaking in ("journal_raises", "passwords", "desk", "files", "accounts"):
        assert "it broke" in caplog.text
