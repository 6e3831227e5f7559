"""Tokens that `echod login` keeps: one for each daemon, in a file that its owner alone may read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from echod.config import user_file
from echod.errors import ConfigurationError
from echod.host.directories import replacing


class Kept(NamedTuple):
    id: str
    token: str


def kept_for(address: str) -> Kept | None:
    """The token for the daemon at an address, if one is kept."""
    return _all().get(address)


def keep(address: str, token: Kept) -> None:
    _write(_all() | {address: token})


def forget(address: str) -> None:
    _write({other: token for other, token in _all().items() if other != address})


def _path() -> Path:
    return user_file().with_name("credentials.json")


def _all() -> dict[str, Kept]:
    path = _path()
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} holds tokens, and others may read it: `chmod 600 {path}`")
        return {address: Kept(**kept) for address, kept in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}; remove it and run `echod login`") from None


def _write(tokens: dict[str, Kept]) -> None:
    path = _path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path, 0o600) as file:
        file.write(json.dumps({address: kept._asdict() for address, kept in tokens.items()}, indent=2).encode())
