"""A connection to the daemon: requests over TCP or the unix socket, refusals as errors, patience with a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import httpx
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect

from echod import __version__
from echod.client.address import find
from echod.errors import TABLE, DaemonUnreachable, EchodError

PAUSE = 0.25  # seconds before a lost daemon is tried again

# An answer may wait for an inspection, or for a job's next checkpoint.
TIMEOUT = httpx.Timeout(60, connect=10, read=600)

T = TypeVar("T")


class Connection:
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
        self._headers = _credentials(token or "")
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

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        def call() -> dict[str, Any]:
            answer = self._send(method, path, **request)
            if answer.is_error:
                raise self._refusal(answer.status_code, answer.content)
            value = json_object(answer.content)
            if "object" not in value:
                raise EchodError("unreachable", f"what answers at {self.address} is no echod")
            return value

        return self.patiently(call)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise self._lost(error) from None
        self._met = True
        return answer

    def websocket(self, path: str) -> ClientConnection:
        """An open WebSocket, for the caller to close. Raises as requests do; is not waited for."""
        uri = "ws" + self.address.url.removeprefix("http") + path
        options: dict[str, Any] = {"additional_headers": self._headers, "close_timeout": 1}
        connection: ClientConnection
        try:
            # Entered, for `websockets` 17 knows no other way to have it open, and older ones open it before.
            if self.address.socket:
                connection = unix_connect(str(self.address.socket), uri, **options).__enter__()
            else:
                connection = connect(uri, proxy=None, **options).__enter__()
        except InvalidStatus as error:
            raise self._refusal(error.response.status_code, error.response.body or b"") from None
        except (OSError, InvalidHandshake) as error:
            raise self._lost(error) from None
        self._met = True
        return connection

    def patiently(self, action: Callable[[], T]) -> T:
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
                pause()
            else:
                if deadline is not None:
                    self.tell("the daemon is back")
                return result

    def _refusal(self, status: int, body: bytes | bytearray) -> EchodError:
        error = refusal(status, body)
        if error.code != "unauthorized" or "Authorization" not in error.message:  # that is for who sends headers
            return error
        if "Authorization" in self._headers:
            return EchodError(
                "unauthorized",
                "the token is unknown, revoked or expired; put another one into ECHOD_TOKEN, or run `echod login`",
            )
        return EchodError(
            "unauthorized",
            f"the daemon at {self.address} has accounts: put a token into ECHOD_TOKEN, or run `echod login`; on its "
            "own machine its unix socket needs neither (--url unix:PATH)",
        )

    def _lost(self, error: Exception) -> DaemonUnreachable:
        # A connection that broke later had been made: somebody was there.
        self._met = self._met or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | OSError)
        reason = str(error) or type(error).__name__
        return DaemonUnreachable(
            f"no daemon answers at {self.address} ({reason}); start one with `echod serve`, or name it with --url"
        )


def _credentials(token: str) -> dict[str, str]:
    token = token.strip()  # a file that it was read from may end its lines in any way
    if not (token.isascii() and token.isprintable()):
        raise EchodError(
            "unauthorized",
            "the token (ECHOD_TOKEN) has characters that no token has; `echod tokens create` prints a new one",
        )
    return {"Authorization": f"Bearer {token}"} if token else {}


def pause() -> None:
    """Between two attempts at a lost daemon."""
    time.sleep(PAUSE)


def refusal(status: int, body: bytes | bytearray) -> EchodError:
    """The daemon's error as it was raised there; something else's (a proxy's) by its status."""
    error = json_object(body).get("error")
    if isinstance(error, dict) and error.get("code") in TABLE:
        return error_of(error)
    code = next((code for code, row in TABLE.items() if row.status == status), "internal")
    return EchodError(code, f"unexpected answer, HTTP {status}: {body[:200].decode(errors='replace').strip()}")


def error_of(error: Mapping[str, Any]) -> EchodError:
    """The daemon's error, from the object that tells of it."""
    code = str(error.get("code"))
    known = code if code in TABLE else "internal"
    return EchodError(known, str(error.get("message")), param=error.get("param"), told=code)


def json_object(body: bytes | bytearray) -> dict[str, Any]:
    """What the body holds; nothing if that is no JSON object."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
