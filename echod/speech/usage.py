"""Usage records: what each call to a speech backend took and used; in the journal, summed by account and day."""

from __future__ import annotations

import asyncio
import logging

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


class DayOfUsage(msgspec.Struct, frozen=True):
    """The calls of one account on one day (UTC) to one voice or model, summed; as in `Usage`."""

    account: str
    day: str  # 2026-11-26
    function: str
    backend: str
    model: str
    voice: str | None
    calls: int
    failed: int
    input_tokens: int
    output_tokens: int
    characters: int
    seconds: float


class UsageRecords:
    """The records in the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, usage: Usage) -> asyncio.Future[None]:
        """Keep a record. Nobody need wait for it: one that cannot be written is logged."""
        columns = ("at", "account", "function", "backend", "model", "outcome", *SUMMED)
        values = (*(getattr(usage, name) for name in columns), msgspec.json.encode(usage))
        written = self._journal.execute("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        written.add_done_callback(_log_failure)
        return written

    async def by_day(self, account: str | None, since: float) -> list[DayOfUsage]:
        """Sums by account, day (UTC), function, backend, model, voice, newest day first; of one account, or of all."""
        sums = ", ".join(f"SUM({name})" for name in SUMMED)
        query = (
            "SELECT account, date(at, 'unixepoch') AS day, function, backend, model, "
            "json_extract(CAST(data AS TEXT), '$.voice') AS voice, COUNT(*), "
            f"SUM(outcome NOT IN ('ok', 'cancelled')), {sums} FROM usage "
            "WHERE at >= ?1 AND (?2 IS NULL OR account = ?2) "
            "GROUP BY account, day, function, backend, model, voice "
            "ORDER BY day DESC, account, function, backend, model, voice"
        )
        rows = self._journal.do(lambda db: db.execute(query, (since, account)).fetchall())
        return [DayOfUsage(*row) for row in await rows]

    def forget(self, account: str) -> asyncio.Future[None]:
        """Remove the records of an account that is gone: another may get its name."""
        return self._journal.execute("DELETE FROM usage WHERE account = ?", (account,))

    def sweep(self, before: float) -> asyncio.Future[None]:
        return self._journal.execute("DELETE FROM usage WHERE at < ?", (before,))


def _log_failure(written: asyncio.Future[None]) -> None:
    if not written.cancelled() and (error := written.exception()):
        log.error("a usage record is lost: %s", error)
