"""A client of the daemon: HTTP and the event stream, over TCP or the unix socket.

    with Client() as client:
        video = client.submit("portrait.png", "speech.wav", seed=7)
        for event in client.follow(video["id"]):
            print(event["type"], event["video"]["progress"])
        with open("clip.mp4", "wb") as file:
            client.content(video["id"], file)

A connection that breaks, or a daemon that restarts, is waited out for `patience` seconds. Every refusal is raised as
the EchodError the daemon answered with; no daemon at all is DaemonUnreachable.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO, Literal, NotRequired, Self, TypeAlias, TypedDict, TypeVar, cast
from urllib.parse import quote

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect

from echod import __version__
from echod.address import find
from echod.errors import TABLE, DaemonUnreachable, EchodError

TERMINAL = frozenset({"completed", "failed", "cancelled"})

PAUSE = 0.25  # seconds before a lost daemon is tried again
POLL = 0.5  # seconds between two looks at a job where no event stream can be had
PAGE = 100  # jobs asked for at once

# An answer may wait for an inspection, or for a job's next checkpoint.
TIMEOUT = httpx.Timeout(60, connect=10, read=600)

T = TypeVar("T")
Source: TypeAlias = str | Path | BinaryIO  # a file object must be seekable, so that it can be sent again


class Failure(TypedDict):
    code: str
    message: str


class Extras(TypedDict, total=False):
    """What the daemon tells beyond the OpenAI shape."""

    queue_position: int | None
    eta_s: float | None
    stage: str | None
    windows_done: int
    windows_total: int
    seed: int
    device: str | None
    attempt: int
    engine: str
    faces: int | None
    crop: list[int] | None
    url: str | None
    timings_ms: dict[str, int]


class Video(TypedDict):
    """A job as the daemon shows it: the OpenAI video object, with `echod` beside it."""

    id: str
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"]
    model: str
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    size: str
    seconds: str
    error: Failure | None
    prompt: NotRequired[str | None]
    echod: Extras


class Event(TypedDict):
    """One change of a job; `seq` is None for a state that was asked for rather than told."""

    type: str
    seq: int | None
    ts: float
    video: Video


class Client:
    """Calls one daemon. `tell` hears, in a sentence, of connections lost and found again."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        patience: float = 60.0,
        tell: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.address = find(url)
        self.patience = patience
        self.tell = tell
        self._met = False
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=self.address.url,
            headers={"User-Agent": f"echod/{__version__}", **self._headers},
            timeout=TIMEOUT,
            # A proxy from the environment must not stand before a daemon on this machine, nor ~/.netrc replace a token.
            trust_env=False,
            transport=httpx.HTTPTransport(uds=str(self.address.socket)) if self.address.socket else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # -- jobs

    def submit(
        self,
        portrait: Source,
        speech: Source,
        *,
        engine: str | None = None,
        seed: int | None = None,
        size: str | None = None,
        fps: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        lossless: bool = False,
    ) -> Video:
        """Hand in a job. It goes under an idempotency key, so that sending it again never makes a second one."""
        fields: dict[str, Any] = {
            "model": engine,
            "seed": seed,
            "size": size,
            "fps": fps,
            "steps": steps,
            "guidance": guidance,
        }
        if lossless:
            fields["lossless"] = "true"
        with ExitStack() as stack:
            return self._video(
                "POST",
                "/v1/videos",
                data={name: str(value) for name, value in fields.items() if value is not None},
                files={
                    "input_reference": _part(stack, portrait, "portrait"),
                    "audio_reference": _part(stack, speech, "speech"),
                },
                headers={"Idempotency-Key": secrets.token_hex(16)},
            )

    def video(self, video_id: str) -> Video:
        return self._video("GET", f"/v1/videos/{_segment(video_id)}")

    def videos(self, order: Literal["asc", "desc"] = "desc") -> Iterator[Video]:
        """Every job there is, newest first unless asked otherwise."""
        after: dict[str, str] = {}
        while True:
            page = self._call("GET", "/v1/videos", params={"limit": PAGE, "order": order, **after})
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"after": page["data"][-1]["id"]}

    def cancel(self, video_id: str) -> Video:
        return self._video("POST", f"/v1/videos/{_segment(video_id)}/cancel")

    def remove(self, video_id: str) -> None:
        """Cancel the job if it has not ended, and delete it with its files."""
        self._call("DELETE", f"/v1/videos/{_segment(video_id)}")

    def content(self, video_id: str, file: BinaryIO) -> None:
        """The finished clip's bytes, into a seekable file."""

        def download() -> None:
            file.seek(0)
            file.truncate()
            try:
                with self._http.stream("GET", f"/v1/videos/{_segment(video_id)}/content") as answer:
                    if answer.is_error:
                        raise _refusal(answer.status_code, answer.read())
                    for block in answer.iter_bytes():
                        file.write(block)
            except httpx.TransportError as error:
                raise self._lost(error) from None

        self._patiently(download)

    # -- events

    def events(self, after: int | None = None) -> Iterator[Event]:
        """The live jobs, or what happened since `after`, then every change, for ever."""
        while True:
            with closing(self._listen(after)) as connection:
                for event in _received(connection):
                    after = event["seq"]
                    yield event
            time.sleep(PAUSE)

    def follow(self, video_id: str) -> Iterator[Event]:
        """One job's state, then every change until it ends; by asking again and again where no events can be had."""
        after: int | None = None
        while True:
            # Listen first, ask second: a job that ends in between is seen by one or the other.
            try:
                connection = self._listen(after)
            except DaemonUnreachable:
                raise
            except EchodError:
                yield from self._poll(video_id)
                return
            with closing(connection):
                if (video := self.video(video_id))["status"] in TERMINAL:
                    yield _asked(video)
                    return
                for event in _received(connection):
                    after = event["seq"]
                    if event["video"]["id"] == video_id:
                        yield event
                        if event["video"]["status"] in TERMINAL:
                            return
            time.sleep(PAUSE)

    def _poll(self, video_id: str) -> Iterator[Event]:
        while True:
            video = self.video(video_id)
            yield _asked(video)
            if video["status"] in TERMINAL:
                return
            time.sleep(POLL)

    def _listen(self, after: int | None) -> ClientConnection:
        uri = "ws" + self.address.url.removeprefix("http") + "/v1/events"
        if after is not None:
            uri += f"?after={after}"
        options: dict[str, Any] = {"additional_headers": self._headers, "close_timeout": 1, "legacy": True}

        def listen() -> ClientConnection:
            try:
                if self.address.socket:
                    connection = unix_connect(str(self.address.socket), uri, **options)
                else:
                    connection = connect(uri, proxy=None, **options)
            except InvalidStatus as refusal:
                raise _refusal(refusal.response.status_code, refusal.response.body or b"") from None
            except (OSError, InvalidHandshake) as error:
                raise self._lost(error) from None
            assert isinstance(connection, ClientConnection)
            return connection

        return self._patiently(listen)

    # -- roles

    def roles(self) -> list[dict[str, Any]]:
        """Every role; for admins also folders that are none, each with its `error`."""
        return list(self._call("GET", "/v1/roles")["data"])

    def role(self, name: str) -> dict[str, Any]:
        return self._call("GET", f"/v1/roles/{_role_segment(name)}")

    def save_role(
        self, name: str, fields: Mapping[str, Any], portrait: tuple[str, BinaryIO], *, replace: bool = False
    ) -> dict[str, Any]:
        """Make a role of what a role.toml says and a portrait with its file name. For admins."""
        plain = {key: value for key, value in fields.items() if key not in ("portrait", "options") and value}
        plain |= {f"options[{key}]": str(value) for key, value in fields.get("options", {}).items()}
        files = {"portrait": portrait}
        if replace:
            return self._call("PUT", f"/v1/roles/{_role_segment(name)}", data=plain, files=files)
        return self._call("POST", "/v1/roles", data={"name": name, **plain}, files=files)

    def remove_role(self, name: str) -> None:
        self._call("DELETE", f"/v1/roles/{_role_segment(name)}")

    # -- people

    def accounts(self) -> list[dict[str, Any]]:
        """Everybody. For admins."""
        return list(self._call("GET", "/v1/accounts")["data"])

    def add_account(self, name: str, role: str, password: str) -> dict[str, Any]:
        """For admins."""
        return self._call("POST", "/v1/accounts", json={"name": name, "role": role, "password": password})

    def set_password(self, name: str, password: str) -> None:
        """Somebody's password; their sessions and tokens end. For admins."""
        self._call("PUT", f"/v1/accounts/{quote(name, safe='')}/password", json={"password": password})

    def remove_account(self, name: str) -> None:
        """With its jobs, clips, files and tokens. For admins."""
        self._call("DELETE", f"/v1/accounts/{quote(name, safe='')}")

    def tokens(self) -> list[dict[str, Any]]:
        """One's API tokens, without their secrets; an admin's list has everybody's."""
        return list(self._call("GET", "/v1/account/tokens")["data"])

    def create_token(self, name: str, *, account: str | None = None, expires_in: float | None = None) -> dict[str, Any]:
        """A new API token; `token` in the answer is its secret. Only admins name another's account."""
        body = {"name": name, "account": account, "expires_in": expires_in}
        return self._call("POST", "/v1/account/tokens", json=body)

    def revoke_token(self, token_id: str) -> None:
        self._call("DELETE", f"/v1/account/tokens/{quote(token_id, safe='')}")

    # -- the machine

    def readiness(self) -> dict[str, Any]:
        """/readyz: what every device does, whether or not one is ready."""
        answer = self._patiently(lambda: self._send("GET", "/readyz"))
        report: dict[str, Any] = _json(answer.content)
        if "ready" in report and "devices" not in report:
            raise EchodError(
                "forbidden",
                "devices are shown to admins only: call over the unix socket, or put an admin's token into ECHOD_TOKEN",
            )
        if "devices" not in report:
            raise _refusal(answer.status_code, answer.content)
        return report

    # -- requests

    def _video(self, method: str, path: str, **request: Any) -> Video:
        return cast(Video, self._call(method, path, **request))

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        def call() -> dict[str, Any]:
            answer = self._send(method, path, **request)
            if answer.is_error:
                raise _refusal(answer.status_code, answer.content)
            value = _json(answer.content)
            if "object" not in value:
                raise EchodError("unreachable", f"what answers at {self.address} is no echod")
            return value

        return self._patiently(call)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise self._lost(error) from None
        self._met = True
        return answer

    def _patiently(self, action: Callable[[], T]) -> T:
        """The action's result; a daemon that was there and went away is waited for."""
        deadline: float | None = None
        while True:
            try:
                result = action()
            except EchodError as error:
                # Once it is known to be restarting, a daemon that drains is one that has yet to go.
                away = isinstance(error, DaemonUnreachable) or (deadline is not None and error.code == "draining")
                if not away or not self._met:
                    raise
                if deadline is None:
                    deadline = time.monotonic() + self.patience
                    self.tell(f"lost the daemon at {self.address}; waiting up to {self.patience:g} s for it")
                if time.monotonic() >= deadline:
                    raise DaemonUnreachable(
                        f"the daemon at {self.address} did not come back within {self.patience:g} s (--reconnect)"
                    ) from None
                time.sleep(PAUSE)
            else:
                if deadline is not None:
                    self.tell("the daemon is back")
                return result

    def _lost(self, error: Exception) -> DaemonUnreachable:
        # A connection that broke later had been made: somebody was there.
        self._met = self._met or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | OSError)
        reason = str(error) or type(error).__name__
        return DaemonUnreachable(
            f"no daemon answers at {self.address} ({reason}); start one with `echod serve`, or name it with --url"
        )


def _part(stack: ExitStack, source: Source, name: str) -> tuple[str, BinaryIO]:
    """A multipart file part: httpx reads it in blocks, and from its start again when it is sent again."""
    if isinstance(source, str | Path):
        return Path(source).name, stack.enter_context(Path(source).open("rb"))
    return name, source


def _segment(video_id: str) -> str:
    """An id as a path segment; what could mean another path is no id."""
    if not re.fullmatch(r"\w+", video_id, re.ASCII):
        raise EchodError("not_found", f"there is no job {video_id!r}; `echod ps --all` lists them", param="id")
    return video_id


def _received(connection: ClientConnection) -> Iterator[Event]:
    """Events until the connection closes, in whatever way: close 1012 says that the daemon restarts."""
    try:
        for message in connection:
            yield json.loads(message)
    except ConnectionClosed:
        return


def _role_segment(name: str) -> str:
    """A role's name as a path segment: what could mean another path is no name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise EchodError("not_found", f"there is no role {name!r}; `echod roles list` shows all there are")
    return name


def _asked(video: Video) -> Event:
    kind = video["status"] if video["status"] in TERMINAL else "snapshot"
    return {"type": f"job.{kind}", "seq": None, "ts": time.time(), "video": video}


def _refusal(status: int, body: bytes | bytearray) -> EchodError:
    """The daemon's error as it was raised there; something else's (a proxy's) by its status."""
    error = _json(body).get("error")
    if isinstance(error, dict) and error.get("code") in TABLE:
        return EchodError(error["code"], str(error.get("message")), param=error.get("param"))
    code = next((code for code, row in TABLE.items() if row.status == status), "internal")
    return EchodError(code, f"unexpected answer, HTTP {status}: {body[:200].decode(errors='replace').strip()}")


def _json(body: bytes | bytearray) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
