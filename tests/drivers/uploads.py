"""The file store, given files."""

from __future__ import annotations

from echod.inspection.messages import Want
from echod.uploads.rows import Record
from echod.uploads.store import FileStore


async def upload(store: FileStore, data: bytes, name: str, want: Want) -> Record:
    async with store.receive("local") as receiving:
        await receiving.write(data)
        return await receiving.finish(name, want)
