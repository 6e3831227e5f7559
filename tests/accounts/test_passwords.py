"""Passwords and what a check of one costs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from argon2 import PasswordHasher

from echod.accounts.passwords import AT_ONCE, MAX_WAITING, Passwords
from echod.errors import EchodError

TIME, MEMORY, LANES = 1, 8, 1  # as cheap as argon2 gets


class Gated(PasswordHasher):
    """Counts checks at work, which wait until the gate is open."""

    def __init__(self) -> None:
        super().__init__(TIME, MEMORY, LANES)
        self.gate = threading.Event()
        self.at_work = self.most = 0
        self._lock = threading.Lock()

    def hash(self, password: Any, *, salt: bytes | None = None) -> str:
        with self._lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        self.gate.wait(30)
        with self._lock:
            self.at_work -= 1
        return super().hash(password, salt=salt)


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(PasswordHasher(TIME, MEMORY, LANES))


async def test_right_and_wrong(passwords: Passwords) -> None:
    """A hash tells the password it was made of from any other, and does not contain it."""
    for password in ("correct horse", "пароль-密码", "x" * 1024, "\ud800 lone half"):
        stored = await passwords.hash(password)
        assert stored.startswith("$argon2id$")
        assert password not in stored
        assert await passwords.verify(stored, password)
        assert not await passwords.verify(stored, password[:-1])
        assert stored != await passwords.hash(password)
    assert not await passwords.verify(None, "correct horse")
    assert not await passwords.verify("no hash at all", "correct horse")


async def test_who_is_patient(passwords: Passwords) -> None:
    """However many others wait, who is known to belong here waits behind them and is not sent away."""
    gated = Passwords(hasher := Gated())
    stored = await passwords.hash("correct horse")
    others = [asyncio.create_task(gated.hash("correct horse")) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(EchodError, match="wait to be checked"):
        await gated.verify(stored, "correct horse")
    known = asyncio.create_task(gated.verify(stored, "correct horse", patient=True))
    await asyncio.sleep(0)
    assert not known.done()
    hasher.gate.set()
    assert await known
    await asyncio.gather(*others)


@pytest.mark.parametrize("password", ["", "seven.!", "x" * 1025])
async def test_length(passwords: Passwords, password: str) -> None:
    """A password that is too short or too long is refused by number, without being shown."""
    with pytest.raises(EchodError, match=f"has {len(password)} characters; 8 to 1024") as refused:
        await passwords.hash(password)
    assert refused.value.param == "password"


async def test_a_few_at_a_time() -> None:
    """Two are worked on, some wait, the rest are refused at once."""
    hasher = Gated()
    passwords = Passwords(hasher)
    tasks = [asyncio.create_task(passwords.hash("correct horse")) for _ in range(MAX_WAITING + 5)]
    await asyncio.wait(tasks[MAX_WAITING:])
    hasher.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, EchodError)]
    assert {(error.code, error.retry_after) for error in refused} == {("rate_limited", 5)}
    assert (len(refused), hasher.most) == (5, AT_ONCE)
