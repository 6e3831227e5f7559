"""The store of accounts, tokens and sessions, and how an account goes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from echod.accounts.grants import LOCAL
from echod.accounts.logins import BY_STRANGERS_FOR_ACCOUNT
from echod.accounts.passwords import Passwords
from echod.accounts.store import SESSION_SECONDS, Accounts
from echod.errors import EchodError
from echod.jobs.rows import JobRows
from echod.journal import MIGRATIONS, Journal
from tests.making.jobs import job

PASSWORD = "correct horse"


class Store(Accounts):
    """Accounts whose clock a test sets."""

    def __init__(self, journal: Journal) -> None:
        self.now = 1_000_000.0
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        super().__init__(journal, Passwords(cheap), clock=lambda: self.now, ticks=lambda: self.now)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    journal = Journal(path)
    journal.open()
    store = Store(journal)
    await store.open()
    try:
        yield store
    finally:
        await journal.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path / "j") as store:
        await store.add("anna", "admin", PASSWORD)
        yield store


async def refusal(awaitable: object) -> EchodError:
    with pytest.raises(EchodError) as caught:
        await awaitable  # type: ignore[misc]
    return caught.value


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    """Accounts, tokens and sessions are there after the journal is opened again, with their ends."""
    async with opened(tmp_path / "j") as store:
        assert not store
        await store.add("anna", "admin", PASSWORD)
        await store.add("bert", "user", PASSWORD)
        _, token = await store.create_token("bert", "laptop", store.now + 10)
        session = await store.login("anna", PASSWORD, "peer")
    async with opened(tmp_path / "j") as store:
        assert [(account.name, account.role) for account in store.all()] == [("anna", "admin"), ("bert", "user")]
        bert, anna = store.token(token), store.session(session)
        assert bert is not None and (bert.account, bert.admin) == ("bert", False)
        assert anna is not None and (anna.account, anna.admin) == ("anna", True)
        assert store.session(token) is store.token(session) is None
        store.now += 10
        assert store.token(token) is None
        store.now += SESSION_SECONDS - 10
        assert store.session(session) is None
        await store.sweep(store.now)
        assert [grant.token.name for grant in store.tokens(None) if grant.token] == ["laptop"]


async def test_no_secret_is_stored(tmp_path: Path) -> None:
    """The journal has hashes, and only its owner may read it."""
    async with opened(tmp_path / "j") as store:
        await store.add("anna", "admin", PASSWORD)
        _, token = await store.create_token("anna", "laptop", None)
        session = await store.login("anna", PASSWORD, "peer")
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"laptop" in stored and b"$argon2id$" in stored
        assert not [secret for secret in (PASSWORD, token, token[6:], session) if secret.encode() in stored]
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["", "local", "Anna", "a b", "../x", "-a", ".a", "a/b", "ä", "a" * 33, "a\n", "a\0"])
async def test_names(store: Store, name: str) -> None:
    """A name is safe in a path, a log and a URL."""
    error = await refusal(store.add(name, "user", PASSWORD))
    assert (error.code, error.param) == ("invalid_request", "name")


async def test_name_is_taken_once(store: Store) -> None:
    """Of two who want a name at the same moment one gets it."""
    results = await asyncio.gather(*(store.add("bert", "user", PASSWORD) for _ in range(2)), return_exceptions=True)
    assert sum(isinstance(result, EchodError) for result in results) == 1
    assert len(store.all()) == 2


async def test_login_while_the_password_changes(store: Store) -> None:
    """A session begun with the old password does not outlive it."""
    login = asyncio.create_task(store.login("anna", PASSWORD, "peer"))
    verified = store._passwords.verify

    async def change_then_answer(stored: str | None, password: str, *, patient: bool = False) -> bool:
        right = await verified(stored, password, patient=patient)
        await store.set_password("anna", "another one")
        return right

    store._passwords.verify = change_then_answer  # type: ignore[method-assign]
    assert (await refusal(login)).code == "unauthorized"
    assert not store._sessions


async def test_who_has_signed_in_is_no_stranger(store: Store) -> None:
    """Their tries are not among those that all addresses together may make, until the password changes."""

    async def guess(peer: str) -> str:
        return (await refusal(store.verify("anna", "no such password", peer))).code

    await store.login("anna", PASSWORD, "home")
    told = [await guess(f"far {number}") for number in range(BY_STRANGERS_FOR_ACCOUNT[0] + 1)]
    assert (set(told[:-1]), told[-1]) == ({"unauthorized"}, "rate_limited")
    assert await store.login("anna", PASSWORD, "home")
    await store.set_password("anna", "another one")
    assert await guess("home") == "rate_limited"


async def test_token_while_the_account_goes(store: Store) -> None:
    """No token is made for an account that is being removed."""
    await store.add("bert", "user", PASSWORD)
    results = await asyncio.gather(
        store.begin_removal("bert"), store.create_token("bert", "late", None), return_exceptions=True
    )
    assert isinstance(results[1], EchodError)
    assert store.tokens(None) == []
    for late in (store.set_password("bert", PASSWORD), store.login("bert", PASSWORD, "peer")):
        assert (await refusal(late)).code in ("not_found", "unauthorized")
    with pytest.raises(EchodError), store.at_work("bert"):
        pass
    assert (await refusal(store.add("bert", "user", PASSWORD))).param == "name"
    await store.finish_removal("bert")
    await store.add("bert", "user", PASSWORD)


async def test_tokens_of_an_account_are_limited(store: Store) -> None:
    """Of many asked for at once as many are made as may be; the refusal names number and setting; others' count not."""
    await store.add("bert", "user", PASSWORD)
    asked = (store.create_token("anna", f"laptop {number}", None, 3) for number in range(10))
    results = await asyncio.gather(*asked, return_exceptions=True)
    refused = [result for result in results if isinstance(result, EchodError)]
    assert (len(refused), len(store.tokens("anna"))) == (7, 3)
    assert {error.code for error in refused} == {"quota_exceeded"}
    assert "has 3 API tokens, and at most 3 are allowed (tokens_per_account)" in refused[0].message
    await store.create_token("bert", "laptop", None, 3)
    revoked = store.tokens("anna")[0].token
    assert revoked is not None
    await store.revoke_token(revoked.id, "anna")
    await store.create_token("anna", "another", None, 3)


async def test_expired_tokens_make_room(tmp_path: Path) -> None:
    """They stay in the list until there is no room, and then go, after a restart too."""
    async with opened(tmp_path / "j") as store:
        await store.add("anna", "admin", PASSWORD)
        for name in ("one", "two"):
            await store.create_token("anna", name, store.now + 10, 3)
        _, kept = await store.create_token("anna", "three", None, 3)
        assert (await refusal(store.create_token("anna", "four", None, 3))).code == "quota_exceeded"
        store.now += 10
        assert len(store.tokens("anna")) == 3
        await store.create_token("anna", "four", None, 3)
        assert [grant.token.name for grant in store.tokens("anna") if grant.token] == ["three", "four"]
    async with opened(tmp_path / "j") as store:
        assert len(store.tokens("anna")) == 2 and store.token(kept)


async def test_a_session_too_many_ends_the_oldest(tmp_path: Path) -> None:
    """Whoever is connected with it is told; nobody else's ends."""
    async with opened(tmp_path / "j") as store:
        for name in ("anna", "bert"):
            await store.add(name, "admin", PASSWORD)
        his = await store.login("bert", PASSWORD, "peer", 2)
        sessions = []
        for _ in range(2):
            sessions.append(await store.login("anna", PASSWORD, "peer", 2))
            store.now += 1
        oldest, ended = store.session(sessions[0]), list[bool]()
        assert oldest is not None
        with oldest.telling(lambda: ended.append(True)):
            sessions.append(await store.login("anna", PASSWORD, "peer", 2))
        assert ended == [True]
        assert [store.session(each) is not None for each in (*sessions, his)] == [False, True, True, True]
    async with opened(tmp_path / "j") as store:
        assert [store.session(each) is not None for each in (*sessions, his)] == [False, True, True, True]


async def test_who_asked_has_gone(store: Store) -> None:
    """A change that is committed counts at once, even if nobody waits for its end any more."""
    await store.create_token("anna", "laptop", None)
    [grant] = store.tokens("anna")
    assert grant.token is not None
    ended: list[bool] = []
    with grant.telling(lambda: ended.append(True)):
        revoking = asyncio.create_task(store.revoke_token(grant.token.id, "anna"))
        await asyncio.sleep(0)
        revoking.cancel()
        await store._journal.do(lambda db: None)
    assert (ended, store.tokens("anna"), grant.holds(store.now)) == ([True], [], False)


async def test_journal_that_cannot_be_written(store: Store) -> None:
    """A change that is not committed did not happen."""

    def full(work: object) -> asyncio.Future[None]:
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failed.set_exception(EchodError("disk_full", "no space"))
        return failed

    await store.create_token("anna", "laptop", None)
    [grant] = store.tokens("anna")
    assert grant.token is not None
    store._journal.do = full  # type: ignore[assignment,method-assign]
    for change in (
        store.add("bert", "user", PASSWORD), store.revoke_token(grant.token.id, None), store.begin_removal("anna"),
        store.set_password("anna", "another one"), store.login("anna", PASSWORD, "peer"),
        store.create_token("anna", "second", None),
    ):  # fmt: skip
        assert (await refusal(change)).code == "disk_full"
    assert [account.name for account in store.all()] == ["anna"]
    assert store.tokens(None) == [grant] and grant.holds(store.now)


async def test_jobs_from_before_accounts(tmp_path: Path) -> None:
    """A journal of the first schema is migrated; what is in it belongs to the local admin."""
    with sqlite3.connect(tmp_path / "j") as db:
        db.executescript(MIGRATIONS[1] + "PRAGMA user_version=1;")
    db.close()
    async with opened(tmp_path / "j") as store:
        jobs = JobRows(store._journal)
        await jobs.add(job(id="1"))
        assert [found.account for found in await jobs.select(LOCAL)] == [LOCAL]
        await store.add("anna", "admin", PASSWORD)


async def test_tokens_from_before_they_had_roles(tmp_path: Path) -> None:
    """A token of the third schema may do what its account may; one for metrics stays one over a restart."""
    with sqlite3.connect(tmp_path / "j") as db:
        db.executescript("".join(MIGRATIONS[version] for version in (1, 2, 3)) + "PRAGMA user_version=3;")
        db.execute("INSERT INTO accounts VALUES ('anna', 'admin', '-', 1, 0)")
        db.execute("INSERT INTO tokens VALUES ('token_1', 'anna', 'old', 'digest', 1, NULL)")
    db.close()
    async with opened(tmp_path / "j") as store:
        [old] = store.tokens("anna")
        assert old.admin and not old.for_metrics
        await store.create_token("anna", "prometheus", None, role="metrics")
    async with opened(tmp_path / "j") as store:
        assert [(grant.admin, grant.for_metrics) for grant in store.tokens("anna")] == [(True, False), (False, True)]
