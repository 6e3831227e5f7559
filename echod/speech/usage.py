"""Usage records: what each call to a speech backend took and used; in the journal, summed by account and day."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import Any

import msgspec

from echod.journal import Journal

log = logging.getLogger("echod.usage")

DAY = 86400.0

SUMMED = ("input_tokens", "output_tokens", "characters", "seconds")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One call with all its attempts; `at` is when it began.

    `outcome` is "ok", "cancelled", the kind of failure, or "text" where the words to be spoken broke off themselves.
    Tokens and characters are the server's count where it gives one; `seconds` are of sound, heard or spoken.
    """

    at: float
    account: str
    function: str
    backend: str
    model: str
    voice: str | None = None
    outcome: str
    attempts: int
    first_ms: int | None
    total_ms: int
    request_id: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0


class UsageRecords:
    """The records in the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, usage: Usage) -> asyncio.Future[None]:
        """Keep a record. Nobody need wait for it: one that cannot be written is logged."""
        row = (usage.at, usage.account, usage.function, usage.backend, usage.model, usage.outcome)
        sums = tuple(getattr(usage, name) for name in SUMMED)
        values = (*row, *sums, msgspec.json.encode(usage))
        statement = "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        written = self._journal.execute(statement, values)
        written.add_done_callback(_log_failure)
        return written

    def by_day(self, account: str | None, since: float) -> asyncio.Future[list[dict[str, Any]]]:
        """Sums by account, day (UTC), function, backend, model, voice, newest day first; of one account, or of all."""

        def work(db: sqlite3.Connection) -> list[dict[str, Any]]:
            sums = ", ".join(f"SUM({name})" for name in SUMMED)
            rows = db.execute(
                "SELECT account, date(at, 'unixepoch') AS day, function, backend, model, "
                "json_extract(CAST(data AS TEXT), '$.voice') AS voice, COUNT(*), "
                f"SUM(outcome NOT IN ('ok', 'cancelled')), {sums} FROM usage "
                "WHERE at >= ?1 AND (?2 IS NULL OR account = ?2) "
                "GROUP BY account, day, function, backend, model, voice "
                "ORDER BY day DESC, account, function, backend, model, voice",
                (since, account),
            ).fetchall()
            names = ("account", "day", "function", "backend", "model", "voice", "calls", "failed", *SUMMED)
            return [dict(zip(names, row, strict=True)) for row in rows]

        return self._journal.do(work)

    def forget(self, account: str) -> asyncio.Future[None]:
        """Remove the records of an account that is gone: another may get its name."""
        return self._journal.execute("DELETE FROM usage WHERE account = ?", (account,))

    def sweep(self, before: float) -> asyncio.Future[None]:
        return self._journal.execute("DELETE FROM usage WHERE at < ?", (before,))


def _log_failure(written: asyncio.Future[None]) -> None:
    if not written.cancelled() and (error := written.exception()):
        log.error("a usage record is lost: %s", error)
