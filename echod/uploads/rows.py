"""Uploaded files in the journal."""

from __future__ import annotations

import asyncio

import msgspec

from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.inspection.messages import Kind
from echod.journal import Rows


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One uploaded file. `filename` is what the client called it, for display only."""

    id: str
    account: str
    filename: str
    bytes: int
    created_at: float
    expires_at: float | None
    purpose: str
    kind: Kind
    portrait: PortraitFacts | None = None
    speech: SpeechFacts | None = None


class FileRows(Rows[Record]):
    table, kind, columns = "files", Record, ("account",)

    def add(self, record: Record) -> asyncio.Future[None]:
        row = (record.id, record.account, msgspec.json.encode(record))
        return self.journal.execute("INSERT INTO files (id, account, data) VALUES (?, ?, ?)", row)

    def save(self, record: Record) -> asyncio.Future[None]:
        return self.journal.execute("UPDATE files SET data = ? WHERE id = ?", (msgspec.json.encode(record), record.id))
