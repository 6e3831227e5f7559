from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import msgspec
import pytest

from echod import journal as journals
from echod.errors import ConfigurationError, EchodError
from echod.inspection.facts import SpeechFacts
from echod.jobs.rows import JobRows
from echod.journal import SCHEMA_VERSION, Journal
from echod.uploads.rows import FileRows
from tests.making.jobs import job, running
from tests.making.rows import RECORD, opened


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[JobRows]:
    async with opened(tmp_path / "journal.sqlite3") as rows:
        yield rows


async def test_remembers_jobs(tmp_path: Path) -> None:
    """What was committed is there after the file is opened again, field by field."""
    wanted = running(
        id="1", metadata={"a": "b"}, portrait={"width": 1, "height": 2, "faces": 1, "box": (1, 2, 3, 4), "sha256": "x"}
    )
    async with opened(tmp_path / "j") as rows:
        await rows.add(job(id="1"))
        await rows.save(wanted)
    async with opened(tmp_path / "j") as rows:
        assert await rows.get("1") == wanted
        assert await rows.get("2") is None


async def test_counts_starts(tmp_path: Path) -> None:
    """Every start of the daemon gets a higher number."""
    counts = []
    for _ in range(3):
        async with opened(tmp_path / "j") as rows:
            counts.append(await rows.journal.boot())
    assert counts == [1, 2, 3]


async def test_pages(rows: JobRows) -> None:
    """Jobs come in the order they were accepted, or newest first, from behind a given one, of one account or all."""
    for index in range(5):
        await rows.add(job(id=str(index), account="ab"[index % 2]))
    ids = [[found.id for found in await page] for page in (
        rows.select(), rows.select(newest_first=True, limit=2), rows.select(after="3", newest_first=True, limit=2),
        rows.select("b"), rows.select(after="2"),
    )]  # fmt: skip
    assert ids == [["0", "1", "2", "3", "4"], ["4", "3"], ["2", "1"], ["1", "3"], ["3", "4"]]


async def test_pages_after_what_is_gone(rows: JobRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place of a removed job is known for a while, to its own account and to admins."""
    monkeypatch.setattr(journals, "REMOVED", 2)
    for index in range(5):
        await rows.add(job(id=str(index), account="a"))
    for index in (1, 2, 3):
        await rows.remove(str(index))
    assert [found.id for found in await rows.select("a", after="2")] == ["4"]
    assert [found.id for found in await rows.select("a", after="2", newest_first=True)] == ["0"]
    asked = [("2", "a"), ("2", None), ("0", "a"), ("2", "b"), ("0", "b"), ("1", "a"), ("none", None)]
    assert [await rows.had(*each) for each in asked] == [True] * 3 + [False] * 4
    assert not await FileRows(rows.journal).had("2", "a")


async def test_unfinished_and_finished(rows: JobRows) -> None:
    """A start finds what has not ended; a sweep finds what has, the first to expire in front."""
    for index, (status, expires_at) in enumerate(
        [("queued", None), ("completed", 9.0), ("in_progress", None), ("failed", 5.0)]
    ):
        await rows.add(job(id=str(index), status=status, expires_at=expires_at))
    assert [found.id for found in await rows.unfinished()] == ["0", "2"]
    assert [found.id for found in await rows.finished()] == ["3", "1"]


async def test_idempotency_key_is_claimed_once(rows: JobRows) -> None:
    """The second use of a key names the first job and writes nothing; another account's key is another key."""
    await rows.add(job(id="1"), "key", "print")
    assert not await rows.add(job(id="2"), "key", "other")
    assert await rows.replayed("local", "key", 0.0) == ("1", "print")
    assert await rows.get("2") is None
    assert await rows.add(job(id="3", account="else"), "key", "other")


async def test_idempotency_key_lives_a_day(rows: JobRows) -> None:
    """A key may be used anew 24 hours later."""
    await rows.add(job(id="1", created_at=0.0), "key", "print")
    assert await rows.add(job(id="2"), "key", "other", now=86401.0)


async def test_one_failure_spoils_no_neighbour(rows: JobRows) -> None:
    """Writes that share a commit succeed and fail each for itself."""
    await rows.add(job(id="1"))
    writes = [rows.add(job(id=id)) for id in ("2", "1", "3")]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [bool, sqlite3.IntegrityError, bool]
    assert [found.id for found in await rows.select()] == ["1", "2", "3"]


async def test_close_commits_what_waits(tmp_path: Path) -> None:
    """Nothing asked for before the end is lost."""
    async with opened(tmp_path / "j") as rows:
        writes = [rows.add(job(id=str(index))) for index in range(100)]
    await asyncio.gather(*writes)
    async with opened(tmp_path / "j") as rows:
        assert len(await rows.select()) == 100


async def test_remove_forgets_the_key_too(rows: JobRows) -> None:
    """A removed job's idempotency key is free."""
    await rows.add(job(id="1"), "key", "print")
    await rows.remove("1")
    assert await rows.replayed("local", "key", 1.0) is None
    assert await rows.get("1") is None


async def test_a_work_that_fails_leaves_the_others(rows: JobRows) -> None:
    """Whatever one work raises is its own failure; the journal goes on."""
    outcomes = await asyncio.gather(
        rows.add(job(id="1")), rows.get("\ud800"), rows.add(job(id="2")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [bool, UnicodeEncodeError, bool]
    assert [found.id for found in await rows.select()] == ["1", "2"]


async def test_files(rows: JobRows) -> None:
    """File rows are kept and removed like jobs."""
    record = msgspec.structs.replace(RECORD, speech=SpeechFacts(seconds=1.0, rate=8000, channels=2, sha256="s"))
    files = FileRows(rows.journal)
    await files.add(record)
    await files.add(msgspec.structs.replace(record, id="3", account="b"))
    assert await files.get("2") == record
    assert [found.id for found in await files.select("b")] == ["3"]
    await files.remove("2")
    assert await files.get("2") is None


async def test_file_that_is_no_database(tmp_path: Path) -> None:
    """A strange file is refused by name and left as it is."""
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"this is not a database, and it is long enough to be looked at" * 20)
    with pytest.raises(ConfigurationError, match=r"journal\.sqlite3.*--state-dir"):
        Journal(path).open()
    assert path.read_bytes().startswith(b"this is not")


async def test_disk_that_turns_read_only(rows: JobRows) -> None:
    """A write is refused with the disk's code, and works again once that is mended."""
    for job_id, switch in (("1", "ON"), ("2", "OFF")):
        rows.journal._db.execute(f"PRAGMA query_only = {switch}")
        if switch == "ON":
            with pytest.raises(EchodError, match="readonly") as refused:
                await rows.add(job(id=job_id))
            assert (refused.value.code, refused.value.status) == ("disk_failed", 507)
        else:
            await rows.add(job(id=job_id))
    assert [found.id for found in await rows.select()] == ["2"]


@pytest.mark.parametrize("way", [Path.hardlink_to, Path.symlink_to, lambda new, old: old.rename(new)])
async def test_one_daemon_at_a_time(tmp_path: Path, way: Callable[[Path, Path], object]) -> None:
    """Whoever has the journal keeps it, under whatever name and in whatever directory another one finds it."""
    (tmp_path / "elsewhere").mkdir()
    async with opened(tmp_path / "j") as rows:
        way(tmp_path / "elsewhere" / "k", tmp_path / "j")
        with pytest.raises(ConfigurationError, match=r"another daemon uses the journal .*elsewhere/k"):
            Journal(tmp_path / "elsewhere" / "k").open()
        await rows.add(job(id="1"))
    async with opened(tmp_path / "elsewhere" / "k"):
        pass


async def test_torn_pages_are_refused(tmp_path: Path) -> None:
    """A journal that is damaged behind its header is not used, and left as it is."""
    path = tmp_path / "journal"
    async with opened(path) as rows:
        await rows.add(job())
    torn = path.read_bytes()[:4096] + b"\xa5" * (path.stat().st_size - 4096)
    path.write_bytes(torn)
    with pytest.raises(ConfigurationError, match="cannot be used as the journal"):
        Journal(path).open()
    assert path.read_bytes() == torn


async def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """A journal of a newer echod is not touched."""
    path = tmp_path / "j"
    async with opened(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(ConfigurationError, match=f"schema {SCHEMA_VERSION + 1}"):
        Journal(path).open()


async def test_database_of_another_program(tmp_path: Path) -> None:
    """One whose version happens to be ours is refused by name, though no page is torn."""
    path = tmp_path / "j"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"CREATE TABLE jobs (id TEXT); PRAGMA user_version={SCHEMA_VERSION}")
    with pytest.raises(ConfigurationError, match="/j cannot be used as the journal: it is not of echod"):
        Journal(path).open()


def damage(path: Path, table: str, id: str, data: bytes) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE {table} SET data = ? WHERE id = ?", (data, id))


@pytest.mark.parametrize(("table", "id"), [("jobs", "1"), ("files", "2")])
async def test_damaged_row(tmp_path: Path, table: str, id: str) -> None:
    """A start is refused that finds one, with file and row; one that a running daemon meets is an internal error."""
    path = tmp_path / "j"
    async with opened(path) as rows:
        await rows.add(job(id="1"))
        await FileRows(rows.journal).add(RECORD)
        damage(path, table, id, b"{broken")
        damaged = rows if table == "jobs" else FileRows(rows.journal)
        for look in (damaged.get(id), damaged.select()):
            with pytest.raises(EchodError, match=f"the journal's row of {id} is damaged") as refusal:
                await look
            assert refusal.value.code == "internal"
    repair = f"the journal's row of {id} .*DELETE FROM {table} WHERE rowid = 1"
    with pytest.raises(ConfigurationError, match=f"^{path}: row 1 of {table} is damaged: {repair}"):
        Journal(path, JobRows, FileRows).open()


async def test_one_flipped_bit(tmp_path: Path) -> None:
    """Whatever bit of a row flips, the row is taken as it is or refused; nothing else happens."""
    path = tmp_path / "j"
    async with opened(path) as rows, AsyncExitStack() as stack:
        db = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
        db.execute("PRAGMA synchronous=OFF")
        await rows.add(job(id="1", prompt="h\u00e9"))
        whole = msgspec.json.encode(await rows.get("1"))
        refused = 0
        for bit in range(0, 8 * len(whole), 5):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            db.execute("UPDATE jobs SET data = ?", (bytes(flipped),))
            try:
                found = await rows.get("1")
            except EchodError:
                refused += 1
            else:
                assert found is not None and found.id == "1"
        assert refused
