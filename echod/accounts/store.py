"""Accounts, and what lets somebody in: passwords, API tokens, sessions.

The journal keeps them, of secrets only hashes. An index in memory says at once whose a token is; it follows every
commit, in the order of the commits. Whoever holds a connection open is told when the grant behind it ends.

While there is no account, everybody local is the admin `local`; once there is one, an admin is always among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import re
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from echod.accounts.grants import LOCAL, Account, AccountRole, Grant, Token, TokenRole, open_house
from echod.accounts.logins import LoginLimits
from echod.accounts.passwords import Passwords
from echod.accounts.rows import delete_grants, delete_oldest_sessions, make_room_for_token
from echod.errors import EchodError, invalid
from echod.host.redaction import TOKEN_PREFIX
from echod.journal import Journal
from echod.webhooks.rows import remove_of as remove_webhooks

log = logging.getLogger("echod.accounts")


NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}", re.ASCII)
MAX_TOKEN_NAME = 64
SECRET_BYTES = 32
SESSION_SECONDS = 30 * 86400.0


class Accounts:
    """Open it inside a running event loop, after the journal."""

    def __init__(
        self,
        journal: Journal,
        passwords: Passwords | None = None,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.open_house = open_house()
        self._journal = journal
        self._passwords = passwords or Passwords()
        self._limits = LoginLimits(ticks)
        self._accounts: dict[str, Account] = {}
        self._tokens: dict[str, Grant] = {}
        self._sessions: dict[str, Grant] = {}
        self._working: Counter[str] = Counter()
        self._left = asyncio.Event()

    async def open(self) -> None:
        """Read what the journal has."""
        accounts, tokens, sessions = await self._journal.do(
            lambda db: [db.execute(f"SELECT * FROM {table}").fetchall() for table in ("accounts", "tokens", "sessions")]
        )
        for name, role, password, created_at, leaving in accounts:
            self._accounts[name] = Account(name, role, password, created_at, bool(leaving))
        for row in tokens:
            self._index_token(Token(*row))
        for digest, account, expires_at in sessions:
            self._index_session(account, digest, expires_at)

    # Who is there

    def __bool__(self) -> bool:
        """Whether there is any account."""
        return bool(self._accounts)

    def all(self) -> list[Account]:
        return sorted((account for account in self._accounts.values() if not account.leaving), key=lambda a: a.name)

    def leaving(self) -> list[str]:
        """Whose removal a daemon that ended has left unfinished."""
        return [account.name for account in self._accounts.values() if account.leaving]

    def find(self, name: str) -> Account:
        """Raises EchodError: not_found."""
        account = self._accounts.get(name)
        if account is None or account.leaving:
            raise _no_account(name)
        return account

    def token(self, secret: str) -> Grant | None:
        """The grant of an API token, if it is one and still good."""
        return self._standing(self._tokens, secret)

    def session(self, secret: str) -> Grant | None:
        return self._standing(self._sessions, secret)

    def _standing(self, grants: dict[str, Grant], secret: str) -> Grant | None:
        digest, now = _digest(secret), self.clock()
        grant = grants.get(digest)
        if grant is None or not hmac.compare_digest(grant.digest, digest) or not grant.holds(now):
            return None
        grant.used_at = now
        return grant

    # Accounts

    async def add(self, name: str, role: AccountRole, password: str) -> Account:
        """Raises EchodError: invalid_request; the first account must be an admin."""
        check_name(name)
        account = Account(name, role, await self._passwords.hash(password), self.clock())

        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM accounts WHERE name = ?", (name,)).fetchone():
                raise invalid(f"the name {name!r} is taken", "name")
            if role != "admin" and not db.execute("SELECT 1 FROM accounts WHERE NOT leaving").fetchone():
                raise invalid("the first account must be an admin: nobody else could add or remove accounts", "role")
            db.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, FALSE)", msgspec.structs.astuple(account)[:4])

        def remember() -> None:
            self._accounts[name] = account
            self.open_house.end()  # whoever is connected on the strength of being local is so no longer

        await self._commit(work, remember)
        log.info("account added", extra={"account": name})
        return account

    async def set_password(self, name: str, password: str) -> None:
        """Every session and token of the account ends. Raises EchodError: not_found, invalid_request."""
        self.find(name)
        hashed = await self._passwords.hash(password)

        def work(db: sqlite3.Connection) -> None:
            done = db.execute("UPDATE accounts SET password = ? WHERE name = ? AND NOT leaving", (hashed, name))
            if not done.rowcount:
                raise _no_account(name)
            delete_grants(db, name)

        def remember() -> None:
            self._accounts[name] = msgspec.structs.replace(self._accounts[name], password=hashed)
            self._end_grants(name)

        await self._commit(work, remember)
        log.info("password changed", extra={"account": name})

    async def begin_removal(self, name: str) -> None:
        """From here on the account can do nothing. Raises EchodError: not_found, forbidden for the last admin."""
        self.find(name)

        def work(db: sqlite3.Connection) -> None:
            staying = dict(db.execute("SELECT name, role FROM accounts WHERE NOT leaving"))
            if staying.pop(name, None) is None:
                raise _no_account(name)
            if staying and "admin" not in staying.values():
                raise EchodError(
                    "forbidden",
                    f"{name!r} is the last admin; add another one first, or remove everybody else first",
                    param="name",
                )
            db.execute("UPDATE accounts SET leaving = TRUE WHERE name = ?", (name,))
            delete_grants(db, name)
            remove_webhooks(db, name)

        def remember() -> None:
            self._accounts[name] = msgspec.structs.replace(self._accounts[name], leaving=True)
            self._end_grants(name)

        await self._commit(work, remember)
        log.info("account is being removed", extra={"account": name})

    async def finish_removal(self, name: str) -> None:
        """Its belongings are gone: the name is free again."""

        def remember() -> None:
            del self._accounts[name]
            if not self._accounts:
                self.open_house = open_house()

        await self._commit(lambda db: db.execute("DELETE FROM accounts WHERE name = ?", (name,)), remember)
        log.info("account removed", extra={"account": name})

    @contextlib.contextmanager
    def at_work(self, name: str) -> Iterator[None]:
        """While the block makes something that will belong to the account. Raises EchodError: unauthorized."""
        account = self._accounts.get(name)
        if name != LOCAL and (account is None or account.leaving):
            raise EchodError("unauthorized", "this account has been removed")
        self._working[name] += 1
        try:
            yield
        finally:
            self._working[name] -= 1
            self._left.set()

    async def at_rest(self, name: str) -> None:
        """Until nothing is being made for the account any more."""
        while self._working[name]:
            self._left.clear()
            await self._left.wait()

    # Passwords and sessions

    async def verify(self, name: str, password: str, peer: str) -> Account:
        """The account, if the password is right. Raises EchodError: unauthorized, rate_limited.

        An unknown name costs as much as a wrong password and is answered alike.
        """
        with self._limits.trying(name, peer) as acquainted:
            account = self._accounts.get(name)
            known = account if account and not account.leaving else None
            right = await self._passwords.verify(known.password if known else None, password, patient=acquainted)
            if not right or known is None:
                # A name that is nobody's may be a password in the wrong field.
                log.warning("login failed", extra={"account": known.name if known else "(unknown)"})
                raise EchodError("unauthorized", "the name or the password is wrong")
        return known

    async def login(self, name: str, password: str, peer: str, most: int | None = None) -> str:
        """The secret of a new session; beyond `most` of them the oldest end. Raises as `verify`."""
        account = await self.verify(name, password, peer)
        secret = secrets.token_urlsafe(SECRET_BYTES)
        digest, expires_at = _digest(secret), self.clock() + SESSION_SECONDS
        ended: list[str] = []

        def work(db: sqlite3.Connection) -> None:
            # The password may have changed while it was verified.
            query = "SELECT 1 FROM accounts WHERE name = ? AND password = ? AND NOT leaving"
            if not db.execute(query, (name, account.password)).fetchone():
                raise EchodError("unauthorized", "the name or the password is wrong")
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (digest, name, expires_at))
            if most is not None:
                ended.extend(delete_oldest_sessions(db, name, most))

        def remember() -> None:
            self._index_session(name, digest, expires_at)
            self._end_digests(self._sessions, ended)

        await self._commit(work, remember)
        log.info("logged in", extra={"account": name})
        return secret

    def is_session(self, grant: Grant) -> bool:
        return self._sessions.get(grant.digest) is grant

    async def logout(self, grant: Grant) -> None:
        """End a session."""
        await self._commit(
            lambda db: db.execute("DELETE FROM sessions WHERE hash = ?", (grant.digest,)),
            lambda: self._end(self._sessions, grant),
        )

    # Tokens

    async def create_token(
        self,
        account: str,
        name: str,
        expires_at: float | None,
        most: int | None = None,
        role: TokenRole | None = None,
    ) -> tuple[Token, str]:
        """A new API token, and its secret for once. Where there are `most`, expired ones make room.

        Raises EchodError: not_found, invalid_request, quota_exceeded.
        """
        self.find(account)
        if not 0 < len(name) <= MAX_TOKEN_NAME or not name.isprintable():
            raise invalid(f"the name of a token has 1 to {MAX_TOKEN_NAME} printable characters", "name")
        secret = TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        id = f"token_{secrets.token_hex(8)}"
        token = Token(id, account, name, _digest(secret), self.clock(), expires_at, role)
        ended: list[str] = []

        def work(db: sqlite3.Connection) -> None:
            if not db.execute("SELECT 1 FROM accounts WHERE name = ? AND NOT leaving", (account,)).fetchone():
                raise _no_account(account)
            if most is not None:
                ended.extend(make_room_for_token(db, account, most, token.created_at))
            db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(token))

        def remember() -> None:
            self._index_token(token)
            self._end_digests(self._tokens, ended)

        await self._commit(work, remember)
        log.info("token created", extra={"account": account})
        return token, secret

    def tokens(self, account: str | None) -> list[Grant]:
        """The grants of an account's tokens (None: everybody's), oldest first; expired ones are among them."""
        grants = [grant for grant in self._tokens.values() if account in (None, grant.account)]
        return sorted(grants, key=lambda grant: grant.token.created_at if grant.token else 0.0)

    async def revoke_token(self, token_id: str, account: str | None) -> None:
        """End an account's token (None: anybody's). Raises EchodError: not_found."""
        for grant in self.tokens(account):
            if grant.token and grant.token.id == token_id:
                break
        else:
            raise EchodError("not_found", f"there is no token {token_id!r}; `echod tokens list` shows them", param="id")
        await self._commit(
            lambda db: db.execute("DELETE FROM tokens WHERE id = ?", (token_id,)),
            lambda: self._end(self._tokens, grant),
        )
        log.info("token revoked", extra={"account": grant.account})

    async def sweep(self, now: float) -> None:
        """Forget expired sessions. Expired tokens stay in the list until they are revoked, or until room is needed."""
        for grant in [grant for grant in self._sessions.values() if not grant.holds(now)]:
            await self.logout(grant)

    # The index

    async def _commit(self, work: Callable[[sqlite3.Connection], object], remember: Callable[[], object]) -> None:
        """Commit, then change the index alike, even if whoever asked for it has gone meanwhile."""

        def done(commit: asyncio.Future[object]) -> None:
            if not commit.cancelled() and commit.exception() is None:
                remember()

        commit = self._journal.do(work)
        commit.add_done_callback(done)
        await asyncio.shield(commit)

    def _index_token(self, token: Token) -> None:
        admin = token.role is None and self._is_admin(token.account)
        self._tokens[token.digest] = Grant(token.account, admin, token.digest, token.expires_at, token)

    def _index_session(self, account: str, digest: str, expires_at: float) -> None:
        self._sessions[digest] = Grant(account, self._is_admin(account), digest, expires_at)

    def _is_admin(self, name: str) -> bool:
        return self._accounts[name].role == "admin"

    def _end_grants(self, account: str) -> None:
        self._limits.forget(account)
        for grants in (self._tokens, self._sessions):
            for grant in [grant for grant in grants.values() if grant.account == account]:
                self._end(grants, grant)

    def _end_digests(self, grants: dict[str, Grant], digests: list[str]) -> None:
        for grant in [grants[digest] for digest in digests if digest in grants]:
            self._end(grants, grant)

    @staticmethod
    def _end(grants: dict[str, Grant], grant: Grant) -> None:
        grants.pop(grant.digest, None)
        grant.end()


def check_name(name: str) -> None:
    """Raises EchodError: invalid_request."""
    if name == LOCAL:
        raise invalid(f"{LOCAL!r} is reserved for callers of the unix socket; choose another name", "name")
    if not NAME.fullmatch(name):
        raise invalid(
            f"{name[:64]!r} cannot be the name of an account: 1 to 32 of a-z 0-9 . _ -, a letter or digit first", "name"
        )


def _digest(secret: str) -> str:
    # SHA-256 is enough: nobody guesses 256 random bits, however quick a guess is.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _no_account(name: str) -> EchodError:
    return EchodError("not_found", f"there is no account {name[:64]!r}; `echod users list` shows them", param="name")
