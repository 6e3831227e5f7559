"""Rows of accounts in the journal: which tokens and sessions go, when others come or their account changes."""

from __future__ import annotations

import sqlite3

from echod.errors import EchodError


def delete_grants(db: sqlite3.Connection, account: str) -> None:
    """Every token and session of the account."""
    db.execute("DELETE FROM tokens WHERE account = ?", (account,))
    db.execute("DELETE FROM sessions WHERE account = ?", (account,))


def delete_oldest_sessions(db: sqlite3.Connection, account: str, most: int) -> list[str]:
    """The hashes of those beyond `most`."""
    query = "SELECT hash FROM sessions WHERE account = ? ORDER BY expires_at DESC, rowid DESC LIMIT -1 OFFSET ?"
    hashes = [hash for (hash,) in db.execute(query, (account, most))]
    db.executemany("DELETE FROM sessions WHERE hash = ?", [(hash,) for hash in hashes])
    return hashes


def make_room_for_token(db: sqlite3.Connection, account: str, most: int, now: float) -> list[str]:
    """The hashes of expired tokens, deleted if there is no room for one more without. EchodError: quota_exceeded."""
    rows = db.execute("SELECT hash, expires_at FROM tokens WHERE account = ?", (account,)).fetchall()
    if len(rows) < most:
        return []
    expired = [hash for hash, expires_at in rows if expires_at is not None and expires_at <= now]
    if len(rows) - len(expired) >= most:
        raise EchodError(
            "quota_exceeded",
            f"{account!r} has {len(rows) - len(expired)} API tokens, and at most {most} are allowed "
            "(tokens_per_account); `echod tokens list` shows them, `echod tokens revoke` ends one",
        )
    db.executemany("DELETE FROM tokens WHERE hash = ?", [(hash,) for hash in expired])
    return expired
