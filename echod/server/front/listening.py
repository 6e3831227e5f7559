"""Addresses to listen on, and clear refusals of those that cannot be had."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, serve

from echod.errors import ConfigurationError


async def listen(host: str, port: int, handler: Callable[..., Awaitable[None]], options: dict[str, Any]) -> Server:
    try:
        return await serve(handler, host, port, **options)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} on {host} is in use by another program, perhaps another echod"
        else:
            why = f"{host}, port {port}, cannot be listened on: {error.strerror or error}"
        raise ConfigurationError(
            f"{why}. Stop that program, or choose another address: --host and --port, ECHOD_HOST and ECHOD_PORT, "
            "or `host` and `port` in config.toml.",
            param="port",
        ) from error


def bind_unix(path: Path) -> socket.socket:
    """A bound unix socket of mode 0660. A file left by a dead daemon is replaced, a live daemon's never."""
    with contextlib.suppress(FileNotFoundError):
        _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o660)  # nobody can connect before listen(): no moment with another mode
    except OSError as error:
        sock.close()
        raise _no_unix(path, error.strerror or str(error)) from error
    return sock


def _remove_stale(path: Path) -> None:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise _no_unix(path, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError:  # EAGAIN: its backlog is full; EACCES: it is somebody else's
            pass
    raise _no_unix(path, "another daemon listens there")


def _no_unix(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the unix socket {path} cannot be used: {why}. Choose another directory with --runtime-dir or "
        "ECHOD_RUNTIME_DIR, or stop the other daemon.",
        param="runtime_dir",
    )


def url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
