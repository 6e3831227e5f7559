"""Webhooks and what is to be delivered to them, as rows of the journal."""

from __future__ import annotations

import secrets
import sqlite3
from typing import Literal, TypeAlias, cast

import msgspec

EventType: TypeAlias = Literal["video.completed", "video.failed", "video.cancelled"]
State: TypeAlias = Literal["waiting", "delivered", "failed"]


class Webhook(msgspec.Struct, frozen=True):
    """An address that is told how jobs end: its account's, or everybody's. `disabled` says why it is told none."""

    id: str
    account: str
    name: str
    url: str
    secret: str
    events: str  # joined by commas
    everybody: bool
    created_at: float
    disabled: str | None = None

    @property
    def event_types(self) -> list[EventType]:
        return self.events.split(",")  # type: ignore[return-value]


class Delivery(msgspec.Struct, frozen=True):
    """One event for one webhook. `answer` is what became of the last of its `attempts`; while it waits, it is `due`.

    How long it is tried counts from `since`.
    """

    id: str
    webhook: str
    job: str
    type: EventType
    created_at: float
    state: State
    attempts: int
    since: float
    due: float
    answer: str | None = None


def note_end(db: sqlite3.Connection, job: str, account: str, status: str, now: float) -> None:
    """Whoever wants to hear of it will: call in the transaction in which the job ends."""
    query = "SELECT id, events FROM webhooks WHERE disabled IS NULL AND (everybody OR account = ?)"
    for webhook, events in db.execute(query, (account,)).fetchall():
        if (type := f"video.{status}") in events.split(","):
            add_delivery(db, Delivery(new_event_id(), webhook, job, cast(EventType, type), now, "waiting", 0, now, now))


def new_event_id() -> str:
    return f"evt_{secrets.token_hex(16)}"


def add_webhook(db: sqlite3.Connection, webhook: Webhook) -> None:
    db.execute("INSERT INTO webhooks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(webhook))


def add_delivery(db: sqlite3.Connection, delivery: Delivery) -> None:
    db.execute("INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(delivery))


def webhooks(db: sqlite3.Connection, account: str | None) -> list[Webhook]:
    """Of an account (None: everybody's), newest first."""
    query = "SELECT * FROM webhooks WHERE (?1 IS NULL OR account = ?1) ORDER BY rowid DESC"
    return [_webhook(row) for row in db.execute(query, (account,))]


def find(db: sqlite3.Connection, id: str) -> Webhook | None:
    return next(map(_webhook, db.execute("SELECT * FROM webhooks WHERE id = ?", (id,))), None)


def _webhook(row: tuple[object, ...]) -> Webhook:
    id, account, name, url, secret, events, everybody, *rest = row
    return Webhook(id, account, name, url, secret, events, bool(everybody), *rest)  # type: ignore[arg-type]


def next_ones(db: sqlite3.Connection) -> list[Delivery]:
    """Of each webhook that is told anything the delivery that is due first."""
    query = (
        "SELECT d.* FROM webhooks w JOIN deliveries d ON d.rowid = (SELECT rowid FROM deliveries "
        "WHERE state = 'waiting' AND webhook = w.id ORDER BY due, rowid LIMIT 1) WHERE w.disabled IS NULL"
    )
    return [Delivery(*row) for row in db.execute(query)]


def save(db: sqlite3.Connection, delivery: Delivery) -> None:
    values = (delivery.state, delivery.attempts, delivery.due, delivery.answer, delivery.id)
    db.execute("UPDATE deliveries SET state = ?, attempts = ?, due = ?, answer = ? WHERE id = ?", values)


def disable(db: sqlite3.Connection, id: str, why: str) -> None:
    """It is told nothing more; what waited has failed."""
    db.execute("UPDATE webhooks SET disabled = ? WHERE id = ?", (why, id))
    db.execute("UPDATE deliveries SET state = 'failed', answer = ? WHERE webhook = ? AND state = 'waiting'", (why, id))


def retry(db: sqlite3.Connection, id: str, now: float) -> int:
    """Enable it and have what failed, or waits for its time, sent now; how many that are."""
    db.execute("UPDATE webhooks SET disabled = NULL WHERE id = ?", (id,))
    again = "UPDATE deliveries SET state = 'waiting', since = ?1, due = ?1 WHERE webhook = ?2 AND state = ?3"
    failed = db.execute(again, (now, id, "failed")).rowcount
    waiting = db.execute(
        "UPDATE deliveries SET due = ? WHERE webhook = ? AND due > ? AND state = 'waiting'", (now, id, now)
    )
    return failed + waiting.rowcount


def deliveries(db: sqlite3.Connection, id: str, limit: int) -> list[Delivery]:
    """The newest of a webhook."""
    query = "SELECT * FROM deliveries WHERE webhook = ? ORDER BY rowid DESC LIMIT ?"
    return [Delivery(*row) for row in db.execute(query, (id, limit))]


def counts(db: sqlite3.Connection) -> dict[tuple[str, State], int]:
    """By webhook and state."""
    query = "SELECT webhook, state, count(*) FROM deliveries GROUP BY webhook, state"
    return {(webhook, state): count for webhook, state, count in db.execute(query)}


def remove(db: sqlite3.Connection, id: str) -> None:
    db.execute("DELETE FROM deliveries WHERE webhook = ?", (id,))
    db.execute("DELETE FROM webhooks WHERE id = ?", (id,))


def remove_of(db: sqlite3.Connection, account: str) -> None:
    """All of an account."""
    for webhook in webhooks(db, account):
        remove(db, webhook.id)


def sweep(db: sqlite3.Connection, delivered_before: float, failed_before: float) -> None:
    for state, before in (("delivered", delivered_before), ("failed", failed_before)):
        db.execute("DELETE FROM deliveries WHERE state = ? AND created_at < ?", (state, before))
