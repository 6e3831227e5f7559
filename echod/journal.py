"""The journal: one SQLite file (WAL, synchronous=FULL) that knows every job and file.

One thread owns the connection. It commits everything that waits in a single transaction, so that many jobs share one
fsync; a write's future resolves after that commit, never before. Writes are applied in the order they were asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgspec

from echod import journal_file
from echod.errors import ConfigurationError, EchodError

T = TypeVar("T")
Row = TypeVar("Row")
Work = Callable[[sqlite3.Connection], T]
Outcome = tuple[asyncio.Future[Any], Any, Exception | None]

REMOVED = 10_000  # jobs, and files, whose place is remembered

SCHEMA_VERSION = 5
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
    4: """
    ALTER TABLE tokens ADD COLUMN role TEXT;
    """,
    5: """
    CREATE TABLE webhooks (
        id TEXT PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, url TEXT NOT NULL, secret TEXT NOT NULL,
        events TEXT NOT NULL, everybody INTEGER NOT NULL, created_at REAL NOT NULL, disabled TEXT
    );
    CREATE TABLE deliveries (
        id TEXT PRIMARY KEY, webhook TEXT NOT NULL, job TEXT NOT NULL, type TEXT NOT NULL, created_at REAL NOT NULL,
        state TEXT NOT NULL, attempts INTEGER NOT NULL, since REAL NOT NULL, due REAL NOT NULL, answer TEXT
    );
    CREATE INDEX deliveries_by_webhook ON deliveries (webhook, state, due);
    """,
}


# A list that is read page by page goes on after a row that was removed meanwhile: after its last page was deleted, say.
PLACES = """
    CREATE TEMP TABLE removed_{0} (id TEXT PRIMARY KEY, account TEXT NOT NULL, seq INTEGER NOT NULL);
    CREATE TEMP VIEW {0}_places AS SELECT id, account, seq FROM {0} UNION ALL SELECT * FROM removed_{0};
"""


class Journal:
    """Open it inside a running event loop; every method may be awaited from that loop only."""

    def __init__(self, path: Path, *tables: type[Rows[Any]]) -> None:
        self.path = path
        self._tables = tables  # whose rows are checked when it is opened
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
        for table in self._tables:
            table.check(self.path, self._db)

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

    def execute(self, statement: str, values: Sequence[Any] = ()) -> asyncio.Future[None]:
        def work(db: sqlite3.Connection) -> None:
            db.execute(statement, values)

        return self.do(work)

    # Counters

    def boot(self) -> asyncio.Future[int]:
        """Count this start of the daemon."""

        def work(db: sqlite3.Connection) -> int:
            db.execute("INSERT INTO counters VALUES ('boot', 1) ON CONFLICT DO UPDATE SET value = value + 1")
            (count,) = db.execute("SELECT value FROM counters WHERE name = 'boot'").fetchone()
            return int(count)

        return self.do(work)

    def counters(self) -> asyncio.Future[dict[str, int]]:
        return self.do(lambda db: dict(db.execute("SELECT name, value FROM counters").fetchall()))

    def set_counters(self, counters: Mapping[str, int]) -> asyncio.Future[object]:
        statement = "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        return self.do(lambda db: db.executemany(statement, counters.items()))


class Rows(Generic[Row]):
    """A table of values, as JSON in its column `data`. Whose they are knows their SQL, beyond what is common to all."""

    table: Literal["jobs", "files"]
    kind: type[Row]
    columns: tuple[str, ...]  # what else of a value stands in a column, and never differs from it

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def get(self, row_id: str) -> asyncio.Future[Row | None]:
        query = f"SELECT id, data FROM {self.table} WHERE id = ?"
        return self.journal.do(lambda db: next(itertools.starmap(self.decode, db.execute(query, (row_id,))), None))

    def select(
        self, account: str | None = None, *, after: str | None = None, limit: int = -1, newest_first: bool = False
    ) -> asyncio.Future[list[Row]]:
        """In the order they came, or the other way round, from the one behind `after` on."""
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        query = (
            f"SELECT id, data FROM {self.table} WHERE (?1 IS NULL OR account = ?1) "
            f"AND (?2 IS NULL OR seq {beyond} (SELECT seq FROM {self.table}_places WHERE id = ?2)) "
            f"ORDER BY seq {order} LIMIT ?3"
        )
        return self.read(query, account, after, limit)

    def read(self, query: str, *values: object) -> asyncio.Future[list[Row]]:
        """What a query for `id, data` finds."""
        return self.journal.do(lambda db: [self.decode(*row) for row in db.execute(query, values)])

    def had(self, row_id: str, account: str | None) -> asyncio.Future[bool]:
        """Whether it is in the account's list (None: in anybody's), or was not long ago, to go on after it."""
        query = f"SELECT 1 FROM {self.table}_places WHERE id = ?1 AND (?2 IS NULL OR account = ?2)"
        return self.journal.do(lambda db: db.execute(query, (row_id, account)).fetchone() is not None)

    def remove(self, row_id: str) -> asyncio.Future[None]:
        return self.journal.do(partial(self._remove, row_id))

    def _remove(self, row_id: str, db: sqlite3.Connection) -> None:
        removed = f"removed_{self.table}"
        db.execute(f"INSERT INTO {removed} SELECT id, account, seq FROM {self.table} WHERE id = ?", (row_id,))
        db.execute(f"DELETE FROM {removed} WHERE rowid <= (SELECT max(rowid) FROM {removed}) - ?", (REMOVED,))
        db.execute(f"DELETE FROM {self.table} WHERE id = ?", (row_id,))

    @classmethod
    def check(cls, path: Path, db: sqlite3.Connection) -> None:
        """Raises ConfigurationError for a row that is damaged."""
        query = f"SELECT rowid, id, data, {', '.join(cls.columns)} FROM {cls.table}"
        for row, id, data, *said in db.execute(query):
            try:
                found = cls.decode(id, data)
            except EchodError as error:
                raise journal_file.damaged_row(path, cls.table, row, error.message) from None
            if said != [getattr(found, column) for column in cls.columns]:
                raise journal_file.damaged_row(path, cls.table, row, f"the columns of {id} belong to another")

    @classmethod
    def decode(cls, id: str, data: bytes) -> Row:
        try:
            row = msgspec.json.decode(data, type=cls.kind)
            why = "it names another"
        except (msgspec.MsgspecError, ValueError, TypeError) as error:  # ValueError: no UTF-8
            row, why = None, str(error)
        if row is None or getattr(row, "id", None) != id:  # either's directory would be taken for a stray
            raise EchodError("internal", f"the journal's row of {id} is damaged: {why}")
        return row


def _resolve(outcomes: list[Outcome]) -> None:
    for future, value, failure in outcomes:
        if future.done():  # whoever asked has gone
            continue
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(value)


def _journal_error(error: sqlite3.Error) -> EchodError:
    if journal_file.is_full(error):
        return EchodError("disk_full", f"the journal cannot be written: {error}. Free some space and try again.")
    if journal_file.is_failed(error):
        remedy = "Mend its disk, or end what else uses it."
        return EchodError("disk_failed", f"the journal cannot be written: {error}. {remedy}")
    return EchodError("internal", f"the journal cannot be written: {error}")
