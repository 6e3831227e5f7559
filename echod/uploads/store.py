"""Uploads: client bytes on their way to disk and through inspection, and the files that came of it.

    files/<id>/upload                       the client's bytes
    files/<id>/portrait.png | speech.flac   what inspection made of them; jobs link these

A file exists once its row is in the journal; `strays` says what becomes of a directory without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from echod.config import Settings
from echod.errors import EchodError
from echod.host import removal, strays
from echod.host.clock import STEP
from echod.host.directories import create_private, sync, unstorable
from echod.inspection.inspector import Inspector
from echod.inspection.messages import PREPARED, Inspected, Want
from echod.journal import Journal
from echod.uploads.quota import Quota
from echod.uploads.rows import FileRows, Record

log = logging.getLogger("echod.uploads")

BLOCK = 2**16  # bytes gathered before a thread writes them: a full disk's cache may block a write for seconds
MAX_FILENAME = 255


class FileStore:
    """Uploaded files under `root`, one directory each."""

    def __init__(
        self,
        root: Path,
        journal: Journal,
        inspector: Inspector,
        settings: Settings,
        *,
        quota: Quota | None = None,
        clock: Callable[[], float] = time.time,
        trusted: Callable[[], float] | None = None,
    ) -> None:
        self.root = root
        self.quota = quota or Quota(settings)
        self.settings = settings
        self.clock = clock
        self.trusted = trusted or clock  # for what expires
        self.inspector = inspector
        self.rows = FileRows(journal)
        self.unfinished: set[str] = set()  # ids being received: their directories have no row yet
        create_private(root)  # what people sent is theirs

    async def open(self) -> None:
        """Count what is there."""
        for record in await self.rows.select():
            self.quota.count(record.account, self.root / record.id)

    def receive(self, account: str) -> Receiving:
        """`async with` it, write the bytes, then finish or inspect. Raises EchodError: disk_full, quota_exceeded."""
        return Receiving(self, account)

    async def find(self, file_id: str, account: str | None) -> Record:
        """The file, if it is the account's (None: anybody's) and has not expired. Raises EchodError: not_found."""
        record = await self.rows.get(file_id)
        if record is None or account not in (None, record.account) or self._expired(record, self.trusted()):
            raise EchodError("not_found", f"there is no file {display_name(file_id)}; uploads expire, send it again")
        return record

    async def list(
        self, account: str | None, after: str | None = None, limit: int = 20, order: Literal["asc", "desc"] = "desc"
    ) -> tuple[list[Record], bool]:
        """Up to `limit` files following `after`, and whether there are more. Raises EchodError: not_found."""
        if after is not None and not await self.rows.had(after, account):
            raise EchodError("not_found", f"there is no file {display_name(after)} to list after", param="after")
        now, rows = self.trusted(), await self.rows.select(account, after=after, newest_first=order == "desc")
        records = [record for record in rows if not self._expired(record, now)]
        return records[:limit], limit < len(records)

    async def delete(self, file_id: str, account: str | None) -> None:
        """Forget the file and remove its bytes; jobs made with it keep theirs. Raises EchodError: not_found."""
        await self._remove(await self.find(file_id, account))

    def original(self, record: Record) -> Path:
        """The client's bytes."""
        return self.root / record.id / "upload"

    def prepared(self, record: Record) -> Path:
        """What workers read."""
        return self.root / record.id / PREPARED[record.kind]

    async def sweep(self, now: float) -> None:
        """Remove expired files and what an earlier daemon left half received; what has lost its row is set aside."""
        records = await self.rows.select()
        doomed = [each for each in records if self._expired(each, now) or removal.is_cut_short(self.root / each.id)]
        for record in doomed:  # bytes before rows: the journal may need the room
            self.quota.forget(self.root / record.id)
            await asyncio.to_thread(removal.empty, self.root / record.id)
        for directory in await asyncio.to_thread(strays.directories, self.root):
            if directory.name not in self.unfinished and await self.rows.get(directory.name) is None:
                await asyncio.to_thread(strays.clear, [directory])
        for record in records:
            await self._date_back(record)
        for record in doomed:
            try:
                await self._remove(record)
            except EchodError as error:  # the others may go
                log.warning("file %s cannot be removed: %s", record.id, error.message)

    async def _date_back(self, record: Record) -> None:
        """What was sent while the clock was ahead is not kept for as long as it was ahead."""
        latest = self.clock() + self.settings.now.keep_uploads
        if record.created_at > self.clock() + STEP and record.expires_at and record.expires_at > latest:
            await self.rows.save(msgspec.structs.replace(record, expires_at=latest))

    @staticmethod
    def _expired(record: Record, now: float) -> bool:
        return record.expires_at is not None and record.expires_at <= now

    async def _remove(self, record: Record) -> None:
        self.quota.forget(self.root / record.id)
        await removal.remove(self.root / record.id, lambda: self.rows.remove(record.id))


class Receiving:
    """One file on its way in. Leaving the `async with` removes everything unless `finish` has returned."""

    def __init__(self, store: FileStore, account: str) -> None:
        self.id = f"file_{secrets.token_hex(16)}"
        self.bytes = 0
        self._store = store
        self._account = account
        self._directory = store.root / self.id
        self._upload = self._directory / "upload"
        self._block = bytearray()
        self._kept = False

    async def __aenter__(self) -> Self:
        self._check_room()
        try:
            with self._room():
                strays.make(self._directory)
                self._upload.touch()
        except BaseException:
            self._leave_nothing()
            raise
        self._store.unfinished.add(self.id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._store.unfinished.discard(self.id)
        if not self._kept:
            self._leave_nothing()

    def _leave_nothing(self) -> None:
        self._store.quota.forget(self._directory)
        strays.discard(self._directory)

    async def write(self, data: bytes) -> None:
        """Append to the file. Raises EchodError: payload_too_large, disk_full, quota_exceeded."""
        self.bytes += len(data)
        limit = self._store.settings.now.max_upload
        if self.bytes > limit:
            raise EchodError(
                "payload_too_large", f"the file has more than {limit} bytes (setting max_upload); send a smaller one"
            )
        self._block += data
        if len(self._block) >= BLOCK:
            await self._flush()

    async def written(self) -> Path:
        """The file itself, with all that was written; it lives until the `async with` is left."""
        await self._flush()
        return self._upload

    async def inspect(self, filename: str, want: Want) -> Inspected:
        """What the file is, once all is written; its `prepared` lives until the `async with` is left.

        Raises EchodError: disk_full, quota_exceeded, and what `Inspector.inspect` raises, with the file's name.
        """
        upload, store = await self.written(), self._store
        try:
            found = await store.inspector.inspect(
                upload, self._directory, want, account=self._account, allowance=store.quota.allowance
            )
            self._count()
            store.quota.check(self._account, 0)  # another file of the account may have been inspected meanwhile
            return found
        except EchodError as error:
            raise EchodError(error.code, f"{display_name(filename)}: {error.message}") from error

    async def finish(self, filename: str, want: Want, purpose: str = "user_data", keep: float | None = None) -> Record:
        """Inspect the file and keep it: when this returns, it is on disk and in the journal.

        It stays for keep_uploads, or for `keep` seconds if that is sooner.
        """
        inspected = await self.inspect(filename, want)
        with self._room():
            await asyncio.to_thread(sync, self._upload, self._directory, self._store.root)
        now, longest = self._store.clock(), self._store.settings.now.keep_uploads
        record = Record(
            id=self.id,
            account=self._account,
            filename=display_name(filename),
            bytes=self.bytes,
            created_at=now,
            expires_at=now + min(longest, keep or longest),
            purpose=purpose,
            kind=inspected.kind,
            portrait=inspected.portrait,
            speech=inspected.speech,
        )
        self._kept = True  # from here on, even if this is cancelled, there may be a row; without one it is swept
        try:
            await self._store.rows.add(record)
        except EchodError:
            self._kept = False
            raise
        strays.accepted(self._directory)
        return record

    def _count(self) -> None:
        self._store.quota.count(self._account, self._directory)

    def _check_room(self, coming: int = 1) -> None:
        self._store.quota.check(self._account, coming)
        free, least = shutil.disk_usage(self._store.root).free, self._store.settings.now.min_free
        if free < least:
            raise EchodError(
                "disk_full",
                f"only {free >> 20} MiB are free in {self._store.root}, at least {least >> 20} must stay (setting "
                "min_free); remove old clips or free some space",
            )

    async def _flush(self) -> None:
        block, self._block = self._block, bytearray()
        self._check_room(len(block))
        with self._room():
            await asyncio.to_thread(_append, self._upload, block)
        self._count()

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unstorable(f"a file in {self._store.root}", error) from error


def _append(path: Path, block: bytearray) -> None:
    # The file must exist: the thread of a cancelled write must not bring it back after its removal.
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(block)


def display_name(filename: str) -> str:
    """What a client calls a file, safe to show: no path, no control or invisible characters, never empty."""
    last = filename.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C")
    return shown.strip()[:MAX_FILENAME] or "upload"
