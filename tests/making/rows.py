"""A journal with rows of jobs and files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from echod.jobs.rows import JobRows
from echod.journal import Journal
from echod.uploads.rows import FileRows, Record


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[JobRows]:
    journal = Journal(path, JobRows, FileRows)
    journal.open()
    try:
        yield JobRows(journal)
    finally:
        await journal.close()


RECORD = Record(
    id="2", account="a", filename="s.wav", bytes=3, created_at=1.0, expires_at=2.0, purpose="user_data", kind="speech"
)
