"""An account, its tokens, and the grants by which callers are let in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import msgspec

AccountRole: TypeAlias = Literal["admin", "user"]
TokenRole: TypeAlias = Literal["metrics"]  # reads /metrics and nothing else

LOCAL = "local"  # owns what was made before the first account, and what comes by the unix socket


class Account(msgspec.Struct, frozen=True):
    """Somebody. One that is `leaving` can do nothing any more; its belongings are being removed."""

    name: str
    role: AccountRole
    password: str  # argon2
    created_at: float
    leaving: bool = False


class Token(msgspec.Struct, frozen=True):
    """An API token, by everything but its secret. `digest` is the secret's SHA-256.

    Without a role of its own it may do what its account may.
    """

    id: str
    account: str
    name: str
    digest: str
    created_at: float
    expires_at: float | None
    role: TokenRole | None = None


class Grant:
    """What lets a caller in for as long as it holds: a token, a session, or being local while nobody has an account."""

    def __init__(self, account: str, admin: bool, digest: str, expires_at: float | None, token: Token | None = None):
        self.account = account
        self.admin = admin
        self.digest = digest
        self.expires_at = expires_at
        self.token = token
        self.used_at: float | None = None
        self.ended = False  # taken back; expiry is another matter
        self._told: set[Callable[[], None]] = set()

    @property
    def for_metrics(self) -> bool:
        """Whether it opens /metrics alone."""
        return self.token is not None and self.token.role == "metrics"

    def holds(self, now: float) -> bool:
        return not self.ended and (self.expires_at is None or now < self.expires_at)

    def end(self) -> None:
        self.ended = True
        for tell in list(self._told):
            tell()

    @contextlib.contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """Have `tell` called if the grant is taken back while the block runs; its expiry is not told."""
        self._told.add(tell)
        try:
            yield
        finally:
            self._told.discard(tell)


def open_house() -> Grant:
    return Grant(LOCAL, admin=True, digest="", expires_at=None)
