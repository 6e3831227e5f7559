"""The journal: one SQLite file (WAL, synchronous=FULL) that knows every job and file.

One thread owns the connection. It commits everything that waits in a single transaction, so that many jobs share one
fsync; a write's future resolves after that commit, never before. Writes are applied in the order they were asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from echod import journal_file
from echod.errors import ConfigurationError, EchodError
from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs.job import Job

T = TypeVar("T")
Row = TypeVar("Row", Job, "Record")
Work = Callable[[sqlite3.Connection], T]
Outcome = tuple[asyncio.Future[Any], Any, Exception | None]

IDEMPOTENCY_SECONDS = 86400
REMOVED = 10_000  # jobs, and files, whose place is remembered

SCHEMA_VERSION = 3
MIGRATIONS = {
    1: """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, status TEXT NOT NULL,
        expires_at REAL, data BLOB NOT NULL
    );
    CREATE INDEX jobs_by_account ON jobs (account, seq);
    CREATE INDEX jobs_by_status ON jobs (status);
    CREATE TABLE files (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, data BLOB NOT NULL
    );
    CREATE TABLE idempotency (
        account TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, job TEXT NOT NULL,
        created_at REAL NOT NULL, PRIMARY KEY (account, key)
    );
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    """,
    2: """
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, created_at REAL NOT NULL,
        leaving INTEGER NOT NULL
    );
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
        created_at REAL NOT NULL, expires_at REAL
    );
    CREATE TABLE sessions (hash TEXT PRIMARY KEY, account TEXT NOT NULL, expires_at REAL NOT NULL);
    """,
    3: """
    CREATE TABLE usage (
        at REAL NOT NULL, account TEXT NOT NULL, function TEXT NOT NULL, backend TEXT NOT NULL, model TEXT NOT NULL,
        outcome TEXT NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        characters INTEGER NOT NULL, seconds REAL NOT NULL, data BLOB NOT NULL
    );
    CREATE INDEX usage_by_time ON usage (at);
    """,
}


# A list that is read page by page goes on after a row that was removed meanwhile: after its last page was deleted, say.
PLACES = """
    CREATE TEMP TABLE removed_{0} (id TEXT PRIMARY KEY, account TEXT NOT NULL, seq INTEGER NOT NULL);
    CREATE TEMP VIEW {0}_places AS SELECT id, account, seq FROM {0} UNION ALL SELECT * FROM removed_{0};
"""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One uploaded file. `filename` is what the client called it, for display only."""

    id: str
    account: str
    filename: str
    bytes: int
    created_at: float
    expires_at: float | None
    purpose: str
    kind: str
    portrait: PortraitFacts | None = None
    speech: SpeechFacts | None = None


class Replayed(Exception):
    """The idempotency key was used before: by `job`, for a request with `fingerprint`."""

    def __init__(self, job: str, fingerprint: str) -> None:
        super().__init__(job)
        self.job = job
        self.fingerprint = fingerprint


class Journal:
    """Open it inside a running event loop; every method may be awaited from that loop only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._work: queue.SimpleQueue[tuple[Work[Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._db: sqlite3.Connection
        self._opened: contextlib.ExitStack

    def open(self) -> None:
        """Open and migrate. ConfigurationError if the file is no database of ours, or one of a newer echod."""
        self._loop = asyncio.get_running_loop()
        try:
            with contextlib.ExitStack() as stack:
                self._connect(stack)
                self._prepare()
                self._opened = stack.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise journal_file.unusable(self.path, error) from error
        self._thread.start()

    def _connect(self, stack: contextlib.ExitStack) -> None:
        if not self.path.exists() or self.path.stat().st_size == 0:
            # Now: SQLite deletes a -wal that it finds beside an empty file.
            journal_file.check_not_lost(self.path, journal_file.KEY, f"{self.path.name}-wal")
        stack.callback(os.close, journal_file.claim(self.path))
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        stack.callback(self._db.close)  # also of a file that is refused: its -wal would spoil a copy put in its place

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        journal_file.check_pages(self._db)
        self._migrate()
        self._check_rows()
        if not any(self._db.execute(f"SELECT 1 FROM {table}").fetchone() for table in ("jobs", "files", "accounts")):
            journal_file.check_not_lost(self.path)
        self._db.execute("BEGIN IMMEDIATE")  # it can be written
        self._db.execute("ROLLBACK")
        self._db.execute("PRAGMA temp_store=MEMORY")
        self._db.executescript(PLACES.format("jobs") + PLACES.format("files"))

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version < 0:
            raise sqlite3.DatabaseError(f"its user_version is {version}")
        if version > SCHEMA_VERSION:
            raise ConfigurationError(
                f"{self.path} has schema {version}; this echod knows up to {SCHEMA_VERSION}. "
                "Install the newer echod again, or name another directory with --state-dir."
            )
        if version == 0:
            journal_file.check_not_lost(self.path, journal_file.KEY)
        for target in range(version + 1, SCHEMA_VERSION + 1):
            self._db.executescript(f"BEGIN; {MIGRATIONS[target]} PRAGMA user_version={target}; COMMIT;")
        journal_file.check_tables(self._db, "".join(MIGRATIONS.values()))

    def _check_rows(self) -> None:
        journal_file.check_rows(self.path, self._db)
        kinds = (("jobs", partial(_decode, Job), "account, status"), ("files", partial(_decode, Record), "account"))
        for table, decode, columns in kinds:
            for row, id, data, *said in self._db.execute(f"SELECT rowid, id, data, {columns} FROM {table}"):
                try:
                    found = msgspec.structs.asdict(decode(id, data))
                except EchodError as error:
                    raise journal_file.damaged_row(self.path, table, row, error.message) from None
                if said != [found[column] for column in columns.split(", ")]:
                    raise journal_file.damaged_row(self.path, table, row, f"the columns of {id} belong to another")

    async def close(self) -> None:
        """Commit what waits, then close the file."""
        if self._thread.is_alive():
            self._work.put(None)
            await asyncio.to_thread(self._thread.join)
            self._opened.close()

    # The writer thread

    def _serve(self) -> None:
        while True:
            batch = [self._work.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._work.get_nowait())
            if any(batch):
                outcomes = self._commit([entry for entry in batch if entry])
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(_resolve, outcomes)
            if None in batch:
                return

    def _commit(self, batch: list[tuple[Work[Any], asyncio.Future[Any]]]) -> list[Outcome]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(work, future) for work, future in batch]
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return [(future, None, _journal_error(error)) for _, future in batch]
        return outcomes

    def _attempt(self, work: Work[Any], future: asyncio.Future[Any]) -> Outcome:
        """One that fails takes back its own changes and nobody else's."""
        self._db.execute("SAVEPOINT work")
        value, failure = None, None
        try:
            value = work(self._db)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
                raise  # the file's fault, not this work's
            self._db.execute("ROLLBACK TO work")
            failure = error
        self._db.execute("RELEASE work")
        return future, value, failure

    def do(self, work: Work[T]) -> asyncio.Future[T]:
        """Have the writer thread do this. What it raises is the future's, and takes back what it changed."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((work, future))
        return future

    # Jobs

    def boot(self) -> asyncio.Future[int]:
        """Count this start of the daemon."""

        def work(db: sqlite3.Connection) -> int:
            db.execute("INSERT INTO counters VALUES ('boot', 1) ON CONFLICT DO UPDATE SET value = value + 1")
            (count,) = db.execute("SELECT value FROM counters WHERE name = 'boot'").fetchone()
            return int(count)

        return self.do(work)

    def add_job(
        self, job: Job, key: str | None = None, fingerprint: str | None = None, now: float | None = None
    ) -> asyncio.Future[None]:
        """Accept a job. Raises Replayed if this account used the idempotency key within 24 hours before `now`."""

        def work(db: sqlite3.Connection) -> None:
            if key is not None:
                since = (job.created_at if now is None else now) - IDEMPOTENCY_SECONDS
                db.execute("DELETE FROM idempotency WHERE created_at < ?", (since,))
                _claim(db, job, key, fingerprint or "")
            db.execute(
                "INSERT INTO jobs (id, account, status, expires_at, data) VALUES (?, ?, ?, ?, ?)",
                (job.id, job.account, job.status, job.expires_at, _encode(job)),
            )

        return self.do(work)

    def replayed(self, account: str, key: str, now: float) -> asyncio.Future[Replayed | None]:
        """What this account used the idempotency key for within 24 hours."""

        def work(db: sqlite3.Connection) -> Replayed | None:
            query = "SELECT job, fingerprint FROM idempotency WHERE account = ? AND key = ? AND created_at >= ?"
            row = db.execute(query, (account, key, now - IDEMPOTENCY_SECONDS)).fetchone()
            return Replayed(*row) if row else None

        return self.do(work)

    def save_job(self, job: Job) -> asyncio.Future[None]:
        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE jobs SET status = ?, expires_at = ?, data = ? WHERE id = ?",
                (job.status, job.expires_at, _encode(job), job.id),
            )

        return self.do(work)

    def remove_job(self, job_id: str) -> asyncio.Future[None]:
        def work(db: sqlite3.Connection) -> None:
            _remove(db, "jobs", job_id)
            db.execute("DELETE FROM idempotency WHERE job = ?", (job_id,))

        return self.do(work)

    def job(self, job_id: str) -> asyncio.Future[Job | None]:
        def work(db: sqlite3.Connection) -> Job | None:
            row = db.execute("SELECT id, data FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return _decode(Job, *row) if row else None

        return self.do(work)

    def jobs(
        self, account: str | None = None, *, after: str | None = None, limit: int = -1, newest_first: bool = False
    ) -> asyncio.Future[list[Job]]:
        """Jobs in the order they were accepted, or the other way round, from the one behind `after` on."""
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        query = (
            "SELECT id, data FROM jobs WHERE (?1 IS NULL OR account = ?1) "
            f"AND (?2 IS NULL OR seq {beyond} (SELECT seq FROM jobs_places WHERE id = ?2)) "
            f"ORDER BY seq {order} LIMIT ?3"
        )
        return self.do(lambda db: [_decode(Job, *row) for row in db.execute(query, (account, after, limit))])

    def unfinished_jobs(self) -> asyncio.Future[list[Job]]:
        query = "SELECT id, data FROM jobs WHERE status IN ('queued', 'in_progress') ORDER BY seq"
        return self.do(lambda db: [_decode(Job, *row) for row in db.execute(query)])

    def finished_jobs(self) -> asyncio.Future[list[Job]]:
        """Ended jobs, those that expire first in front."""
        query = "SELECT id, data FROM jobs WHERE status NOT IN ('queued', 'in_progress') ORDER BY expires_at, seq"
        return self.do(lambda db: [_decode(Job, *row) for row in db.execute(query)])

    # Files

    def add_file(self, record: Record) -> asyncio.Future[None]:
        row = (record.id, record.account, msgspec.json.encode(record))
        return self.do(lambda db: _run(db, "INSERT INTO files (id, account, data) VALUES (?, ?, ?)", row))

    def file(self, file_id: str) -> asyncio.Future[Record | None]:
        def work(db: sqlite3.Connection) -> Record | None:
            row = db.execute("SELECT id, data FROM files WHERE id = ?", (file_id,)).fetchone()
            return _decode(Record, *row) if row else None

        return self.do(work)

    def files(
        self, account: str | None = None, *, after: str | None = None, newest_first: bool = False
    ) -> asyncio.Future[list[Record]]:
        """Files in the order they came, or the other way round, from the one behind `after` on."""
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        query = (
            "SELECT id, data FROM files WHERE (?1 IS NULL OR account = ?1) "
            f"AND (?2 IS NULL OR seq {beyond} (SELECT seq FROM files_places WHERE id = ?2)) ORDER BY seq {order}"
        )
        found = (account, after)
        return self.do(lambda db: [_decode(Record, *row) for row in db.execute(query, found)])

    def remove_file(self, file_id: str) -> asyncio.Future[None]:
        return self.do(lambda db: _remove(db, "files", file_id))

    # Both

    def had(self, table: Literal["jobs", "files"], row_id: str, account: str | None) -> asyncio.Future[bool]:
        """Whether it is in the account's list (None: in anybody's), or was not long ago, to go on after it."""
        query = f"SELECT 1 FROM {table}_places WHERE id = ?1 AND (?2 IS NULL OR account = ?2)"
        return self.do(lambda db: db.execute(query, (row_id, account)).fetchone() is not None)


def _resolve(outcomes: list[Outcome]) -> None:
    for future, value, failure in outcomes:
        if future.done():  # whoever asked has gone
            continue
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(value)


def _claim(db: sqlite3.Connection, job: Job, key: str, fingerprint: str) -> None:
    row = db.execute(
        "SELECT job, fingerprint FROM idempotency WHERE account = ? AND key = ?", (job.account, key)
    ).fetchone()
    if row:
        raise Replayed(*row)
    db.execute(
        "INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)", (job.account, key, fingerprint, job.id, job.created_at)
    )


def _run(db: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> None:
    db.execute(statement, values)


def _remove(db: sqlite3.Connection, table: Literal["jobs", "files"], row_id: str) -> None:
    db.execute(f"INSERT INTO removed_{table} SELECT id, account, seq FROM {table} WHERE id = ?", (row_id,))
    db.execute(f"DELETE FROM removed_{table} WHERE rowid <= (SELECT max(rowid) FROM removed_{table}) - ?", (REMOVED,))
    db.execute(f"DELETE FROM {table} WHERE id = ?", (row_id,))


def _encode(job: Job) -> bytes:
    return msgspec.json.encode(job)


def _decode(kind: type[Row], id: str, data: bytes) -> Row:
    try:
        row = msgspec.json.decode(data, type=kind)
        why = "it names another"
    except (msgspec.MsgspecError, ValueError, TypeError) as error:  # ValueError: no UTF-8
        row, why = None, str(error)
    if row is None or row.id != id:  # the directory of the one and of the other would be taken for a stray
        raise EchodError("internal", f"the journal's row of {id} is damaged: {why}")
    return row


def _journal_error(error: sqlite3.Error) -> EchodError:
    if journal_file.is_full(error):
        return EchodError("disk_full", f"the journal cannot be written: {error}. Free some space and try again.")
    if journal_file.is_failed(error):
        remedy = "Mend its disk, or end what else uses it."
        return EchodError("disk_failed", f"the journal cannot be written: {error}. {remedy}")
    return EchodError("internal", f"the journal cannot be written: {error}")
