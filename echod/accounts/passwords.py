"""Passwords: argon2 hashes, made and checked in threads, a few at a time: each takes 64 MiB for a moment."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from echod.errors import EchodError

T = TypeVar("T")

MIN_LENGTH, MAX_LENGTH = 8, 1024  # characters
AT_ONCE = 2
MAX_WAITING = 16


class Passwords:
    """`hasher` decides what a guess costs; tests bring a cheap one."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()  # RFC 9106, the profile for little memory
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """What may be stored of a password. Raises EchodError: invalid_request, rate_limited."""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise EchodError(
                "invalid_request",
                f"the password has {len(password)} characters; {MIN_LENGTH} to {MAX_LENGTH} are allowed",
                param="password",
            )
        return await self._in_turn(lambda: self._hasher.hash(_bytes(password)))

    async def verify(self, stored: str | None, password: str, *, patient: bool = False) -> bool:
        """Whether `stored` was made of this password. None, nobody's, takes as long and is never right.

        `patient`: to wait behind however many others. Raises EchodError: rate_limited.
        """
        if self._nobodys is None:  # whoever is asked for, so that the first question tells nothing either
            self._nobodys = await self._in_turn(lambda: self._hasher.hash(secrets.token_bytes(32)), patient)
        hashed = stored or self._nobodys
        return await self._in_turn(lambda: self._matches(hashed, password), patient) and stored is not None

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, _bytes(password[:MAX_LENGTH]))
        except (VerificationError, InvalidHashError):
            return False

    async def _in_turn(self, work: Callable[[], T], patient: bool = False) -> T:
        if self._waiting >= MAX_WAITING and not patient:
            raise EchodError("rate_limited", f"{self._waiting} passwords wait to be checked; try again", retry_after=5)
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    return password.encode(errors="surrogatepass")
