"""Known secrets are planted, everything is made to fail, then everything that can be read is searched for them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from echod.journal import Journal
from tests.drivers.command import ECHOD
from tests.drivers.running import LIGHT, RunningDaemon, command_lines

PASSWORD = "planted-password-7Qx"
OTHER_PASSWORD = "planted-password-8Rz"
KEY = b"planted-signing-key-0123456789-x"
API_KEY = "sk-planted-dashscope-key"


class Secrets:
    """What is planted, in every form it might turn up in, and where it was found."""

    def __init__(self) -> None:
        self.forms: list[bytes] = []
        self.add(PASSWORD.encode(), OTHER_PASSWORD.encode(), KEY, API_KEY.encode())

    def add(self, *secrets: bytes) -> None:
        for secret in secrets:
            self.forms += [secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret)]
            self.forms.append(json.dumps(secret.decode()).encode())

    def search(self, where: str, data: bytes) -> None:
        found = [form for form in self.forms if form in data]
        assert not found, f"{found} in {where}: {data[:2000]!r}"


def refused_requests(token: str, session: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests that carry a secret and fail, most of them because it stands where it does not belong."""
    bearer = {"Authorization": f"Bearer {token}"}
    login: Any = {"name": "anna", "password": PASSWORD}
    yield "POST", "/v1/account/login", {"json": login | {"password": PASSWORD + "x"}}
    yield "POST", "/v1/account/login", {"json": login | {"name": PASSWORD}}
    yield "POST", "/v1/account/login", {"json": login | {PASSWORD: 1}}
    yield "POST", "/v1/account/login", {"json": login | {"name": [PASSWORD]}}
    yield (
        "POST",
        "/v1/account/login",
        {"content": json.dumps(login)[:-2], "headers": {"Content-Type": "application/json"}},
    )
    yield "POST", "/v1/account/login", {"content": json.dumps(login), "headers": {"Content-Type": PASSWORD}}
    yield "POST", "/v1/account/login", {"data": login}
    yield "POST", "/v1/account/login", {"files": {"file": (PASSWORD, PASSWORD.encode())}}
    yield "POST", "/v1/account/login", {"json": login, "headers": {"Origin": "http://evil.example"}}
    yield (
        "PUT",
        "/v1/account/password",
        {"json": {"current_password": "wrong one", "password": PASSWORD}, "headers": bearer},
    )
    yield (
        "PUT",
        "/v1/account/password",
        {"json": {"current_password": PASSWORD, "password": "x" * 2000}, "headers": bearer},
    )
    yield "POST", "/v1/accounts", {"json": login | {"role": "user"}, "headers": bearer}
    yield "POST", "/v1/accounts", {"json": login | {"role": PASSWORD}, "headers": bearer}
    yield "POST", "/v1/accounts", {"json": {"name": "A B", "password": PASSWORD}, "headers": bearer}
    yield "POST", "/v1/accounts", {"json": {"password": PASSWORD}, "headers": bearer}
    yield "PUT", "/v1/accounts/nobody/password", {"json": {"password": PASSWORD}, "headers": bearer}
    yield "POST", "/v1/account/tokens", {"json": {"name": ""}, "headers": bearer}
    yield "POST", "/v1/account/tokens", {"json": {"name": "x", "expires_in": -1}, "headers": bearer}
    yield "DELETE", f"/v1/account/tokens/{token}", {"headers": bearer}
    yield "DELETE", f"/v1/accounts/{token}", {"headers": bearer}
    yield "DELETE", "/v1/accounts/anna", {"headers": bearer}
    for path in (
        f"/v1/videos?token={token}", f"/v1/files/{token}", f"/v1/videos/{token}/content", f"/nowhere/{token}",
        f"/v1/videos?limit={token}", f"/v1/files?after={token}", f"/v1/videos?order={token}", f"/v1/roles/{token}",
    ):  # fmt: skip
        yield "GET", path, {}
        if "?token=" not in path:
            yield "GET", path, {"headers": bearer}
    yield "POST", "/v1/videos", {"data": {"model": token, token: "x"}, "headers": bearer}
    yield "POST", "/v1/videos", {"json": {"model": token, "prompt": 3}, "headers": bearer}
    yield "POST", "/v1/files", {"files": {"file": (f"{token}.png", b"no picture")}, "headers": bearer}
    yield "POST", "/v1/files", {"files": {token: ("f.png", b"no picture")}, "headers": bearer}
    yield "GET", "/v1/videos", {"headers": {"Authorization": f"Bearer {token[:-1]}"}}
    yield "GET", "/v1/videos", {"headers": {"Authorization": f"Basic {token}"}}
    yield "GET", "/v1/videos", {"headers": {"Authorization": token}}
    yield "GET", "/v1/videos", {"headers": {"Cookie": f"echod_session={token}"}}
    yield "GET", "/v1/videos", {"headers": {"Cookie": f"echod_session={session}", "Origin": "http://evil.example"}}
    yield "POST", "/v1/videos", {"headers": {"Cookie": f"echod_session={session}"}}
    yield "BREW", f"/v1/videos/{token}", {"headers": bearer}


def garble(url: str, data: bytes) -> bytes:
    """What is answered to bytes that are no request."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as wire:
        wire.sendall(data)
        answer = b""
        while block := wire.recv(65536):
            answer += block
    return answer


def users_add(daemon: RunningDaemon, secrets: Secrets, *arguments: str, password: str) -> int:
    """`echod users add` with the password on stdin, its command line read while it runs."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ECHOD_")}
    with subprocess.Popen(
        [ECHOD, "users", "add", *arguments, "--url", daemon.url], env=environ,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as command:  # fmt: skip
        assert command.stdin is not None
        command.stdin.write(password.encode() + b"\n")
        command.stdin.flush()
        for line in command_lines(command.pid):
            secrets.search("argv of echod users", line)
        output, _ = command.communicate(timeout=60)
    secrets.search("output of echod users", output)
    return command.returncode


async def make_journal(path: Path) -> None:
    journal = Journal(path)
    journal.open()
    await journal.close()


@pytest.mark.parametrize(
    "flags", [("--log-level", "debug"), pytest.param(("--log-level", "debug", "--log-json"), marks=pytest.mark.long)]
)
def test_no_secret_is_told(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """No password, token, session, signing key or API key is in answers, logs, metrics, argv or the state directory."""
    secrets = Secrets()
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    asyncio.run(make_journal(state / "echod.sqlite3"))  # a key without one is refused
    state.joinpath("signing.key").write_bytes(KEY)
    state.joinpath("signing.key").chmod(0o600)
    with RunningDaemon(tmp_path, *flags, command=LIGHT, DASHSCOPE_API_KEY=API_KEY) as daemon:
        assert users_add(daemon, secrets, "anna", "--role", "admin", password=PASSWORD) == 0
        assert users_add(daemon, secrets, "bert", password=OTHER_PASSWORD) == 0
        assert users_add(daemon, secrets, "anna", password=OTHER_PASSWORD) == 2
        assert users_add(daemon, secrets, "A!", password=OTHER_PASSWORD) == 2
        with daemon.client() as client:
            token = client.create_token("planted", account="anna")["token"]
        with httpx.Client(base_url=daemon.tcp, timeout=60) as http:
            answer = http.post("/v1/account/login", json={"name": "anna", "password": PASSWORD})
            session = answer.cookies["echod_session"]
            http.cookies.clear()
            secrets.search("a login's answer", answer.content)
            secrets.add(token.encode(), token.removeprefix("echod_").encode(), session.encode())
            for method, path, request in refused_requests(token, session):
                answer = http.request(method, path, **request)
                assert answer.is_error, (method, path, request)
                secrets.search(f"{method} {path.partition('?')[0]}", answer.content + str(answer.headers).encode())
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{daemon.tcp.replace('http', 'ws')}/v1/events?token={token}", proxy=None).close()
        secrets.search("a refused handshake", bytes(refused.value.response.body or b""))
        for garbage in (
            f"GET /{token}\0 HTTP/1.1\r\n\r\n".encode(), f"{token}\r\n\r\n".encode(),
            f"GET / HTTP/1.1\r\nX: {token * 2000}".encode(),
            f"GET /v1/events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {token}\r\n\r\n".encode(),
        ):  # fmt: skip
            secrets.search("an answer to garbage", garble(daemon.tcp, garbage))
        with daemon.http() as http:
            for path in ("/metrics", "/readyz", "/openapi.json", "/docs", "/v1/accounts", "/v1/account/tokens"):
                secrets.search(path, http.get(path).content)
        for line in command_lines(daemon.process.pid):
            secrets.search("argv", line)
        for file in state.rglob("*"):  # the journal with its WAL, while it is open
            if file.is_file() and file.name != "signing.key":
                secrets.search(str(file), file.read_bytes())
        assert state.joinpath("echod.sqlite3-wal").stat().st_size > 0
        assert state.joinpath("signing.key").read_bytes() == KEY
    secrets.search("the closed journal", state.joinpath("echod.sqlite3").read_bytes())
    secrets.search("the log", daemon.log.read_bytes())
    assert b"login failed" in daemon.log.read_bytes()
