"""Jobs in the journal, and the idempotency keys that they were made with."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import NamedTuple

import msgspec

from echod.jobs.job import CONVERSATION, Job
from echod.journal import Rows
from echod.webhooks.rows import note_end

IDEMPOTENCY_SECONDS = 86400


class Replayed(NamedTuple):
    """What an idempotency key was used for before."""

    job: str
    fingerprint: str


class JobRows(Rows[Job]):
    table, kind, columns = "jobs", Job, ("account", "status")

    def add(
        self, job: Job, key: str | None = None, fingerprint: str | None = None, now: float = 0.0
    ) -> asyncio.Future[bool]:
        """Accept a job. False, and it is not, if its account used the key within 24 hours before `now`."""

        def work(db: sqlite3.Connection) -> bool:
            if key is not None:
                db.execute("DELETE FROM idempotency WHERE created_at < ?", (now - IDEMPOTENCY_SECONDS,))
                claim = (job.account, key, fingerprint or "", job.id, job.created_at)
                if not db.execute("INSERT OR IGNORE INTO idempotency VALUES (?, ?, ?, ?, ?)", claim).rowcount:
                    return False
            db.execute(
                "INSERT INTO jobs (id, account, status, expires_at, data) VALUES (?, ?, ?, ?, ?)",
                (job.id, job.account, job.status, job.expires_at, msgspec.json.encode(job)),
            )
            return True

        return self.journal.do(work)

    def replayed(self, account: str, key: str, now: float) -> asyncio.Future[Replayed | None]:
        """What this account used the idempotency key for within 24 hours."""

        query = "SELECT job, fingerprint FROM idempotency WHERE account = ? AND key = ? AND created_at >= ?"
        found = (account, key, now - IDEMPOTENCY_SECONDS)
        return self.journal.do(lambda db: next(map(Replayed._make, db.execute(query, found)), None))

    def save(self, job: Job) -> asyncio.Future[None]:
        """With its end, what webhooks are to be told of it."""
        values = (job.status, job.expires_at, msgspec.json.encode(job), job.id)

        def work(db: sqlite3.Connection) -> None:
            if job.terminal and job.priority < CONVERSATION and job.finished_at is not None:
                living = "SELECT 1 FROM jobs WHERE id = ? AND status IN ('queued', 'in_progress')"
                if db.execute(living, (job.id,)).fetchone():
                    note_end(db, job.id, job.account, job.status, job.finished_at)
            db.execute("UPDATE jobs SET status = ?, expires_at = ?, data = ? WHERE id = ?", values)

        return self.journal.do(work)

    def _remove(self, row_id: str, db: sqlite3.Connection) -> None:
        super()._remove(row_id, db)
        db.execute("DELETE FROM idempotency WHERE job = ?", (row_id,))

    def unfinished(self) -> asyncio.Future[list[Job]]:
        return self.read("SELECT id, data FROM jobs WHERE status IN ('queued', 'in_progress') ORDER BY seq")

    def finished(self) -> asyncio.Future[list[Job]]:
        """Ended jobs, those that expire first in front."""
        return self.read(
            "SELECT id, data FROM jobs WHERE status NOT IN ('queued', 'in_progress') ORDER BY expires_at, seq"
        )
