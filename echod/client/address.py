"""Where a daemon is, and how it is found: named, or at the places where one listens."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from echod.errors import DaemonUnreachable, EchodError

DEFAULT_URL = "http://127.0.0.1:8765"
SYSTEM_SOCKET = Path("/run/echod/echod.sock")
ANY_HOST = "http://localhost"  # on a unix socket the host means nothing, but HTTP wants one


class Address(NamedTuple):
    """Where a daemon is: the base URL and, unless by TCP, the unix socket."""

    url: str
    socket: Path | None = None

    def __str__(self) -> str:
        return str(self.socket or self.url)


def address(text: str) -> Address:
    """http://host:port, host:port, unix:/path or /path as an address."""
    path = text.removeprefix("unix:")
    if path.startswith("/"):
        return Address(ANY_HOST, Path("/", path.lstrip("/")))
    url = text if "://" in text else f"http://{text}"
    try:
        parsed = urlsplit(url)
        named = parsed.scheme in ("http", "https") and parsed.hostname and (parsed.port or 1)
    except ValueError:  # a port that is none, half an IPv6 address
        named = False
    if not named:
        raise EchodError("invalid_request", f"{text!r} is no address; give http://HOST:PORT or unix:PATH", param="url")
    return Address(url.rstrip("/"))


def find(url: str | None = None, environ: Mapping[str, str] = os.environ) -> Address:
    """The daemon's address: as given, else ECHOD_URL, else the first that answers of the places it listens at."""
    given = url or environ.get("ECHOD_URL")
    if given:
        return address(given)
    reasons = []
    for place in _places(environ):
        reason = _deaf(place)
        if reason is None:
            return place
        reasons.append(f"{place} ({reason})")
    raise DaemonUnreachable(
        f"no daemon answers at {', '.join(reasons)}; start one with `echod serve`, or name it with --url or ECHOD_URL"
    )


def _places(environ: Mapping[str, str]) -> Iterator[Address]:
    """Where a daemon may listen, as `config` chooses its runtime directory."""
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Address(ANY_HOST, Path(runtime, "echod/echod.sock"))
    yield Address(ANY_HOST, SYSTEM_SOCKET)
    # Of a daemon that was started without a session: by cron, in a container. Who looks for it may well have one.
    fallback = Path(tempfile.gettempdir(), f"echod-{os.getuid()}")
    if _is_ours(fallback):
        yield Address(ANY_HOST, fallback / "echod.sock")
    yield address(DEFAULT_URL)


def _is_ours(directory: Path) -> bool:
    """Whether nobody else can have put a socket there, and wait for passwords: anybody may write beside it."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _deaf(place: Address) -> str | None:
    """Why nobody listens at `place`, None if somebody does."""
    url = urlsplit(place.url)
    with socket.socket(socket.AF_UNIX if place.socket else socket.AF_INET) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(place.socket) if place.socket else (url.hostname, url.port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None
