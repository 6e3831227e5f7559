"""Addresses that need no token: signed, and good for a while.

    /v1/files/<id>/content?expires=<unix time>&signature=<base64url>

The signature covers the path, with the id in it, and the time: it opens that one resource and no other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

from echod.errors import ConfigurationError
from echod.host.directories import replacing, sync

KEY_BYTES = 32
CONTEXT = b"echod address 1\n"  # so that the key can never be made to sign anything else


class Signer:
    """Signs resources, a path with or without a query, under one key."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self.clock = clock

    def sign(self, resource: str, lifetime: float) -> str:
        """The resource's address, good for `lifetime` seconds, or up to a 24th less.

        Less, so that one resource keeps its address for a while and a browser finds what it has cached.
        """
        step = max(1, int(lifetime / 24))
        expires = str(int(self.clock() + lifetime) // step * step)
        separator = "&" if "?" in resource else "?"
        return f"{resource}{separator}expires={expires}&signature={self._signature(resource, expires)}"

    def opens(self, resource: str, expires: str, signature: str) -> bool:
        """Whether an address with these parts is one of ours and still good."""
        if not re.fullmatch(r"[0-9]{1,12}", expires, re.ASCII) or int(expires) <= self.clock():
            return False
        return hmac.compare_digest(self._signature(resource, expires).encode(), signature.encode())

    def _signature(self, resource: str, expires: str) -> str:
        message = CONTEXT + f"{resource}\n{expires}".encode()
        digest = hmac.digest(self._key, message, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def load_key(path: Path) -> bytes:
    """The key in the file, made if there is none. ConfigurationError if it is not a private file of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        try:
            return _make_key(path)
        except OSError as error:
            raise ConfigurationError(f"the signing key {path} cannot be made: {error.strerror}") from None
    except OSError as error:
        raise ConfigurationError(f"the signing key {path} cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.getuid():
            raise ConfigurationError(
                f"the signing key {path} must be a file that only its owner, this daemon's user, may read: "
                "`chmod 600` it, or remove it and every address given out so far stops working"
            )
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"the signing key {path} is damaged: it must have {KEY_BYTES} bytes. Restore it, or remove it and "
            "every address given out so far stops working"
        )
    return key


def _make_key(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # of a start that was cut short
    with replacing(path, 0o600, part) as file:
        file.write(key)
    sync(path.parent)
    return key
