from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest

from echod import journal as journals
from echod.errors import ConfigurationError, EchodError
from echod.inspection.facts import SpeechFacts
from echod.journal import SCHEMA_VERSION, Journal, Record, Replayed
from tests.jobs.test_life import job, running


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    journal = Journal(path)
    journal.open()
    try:
        yield journal
    finally:
        await journal.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with opened(tmp_path / "journal.sqlite3") as journal:
        yield journal


async def test_remembers_jobs(tmp_path: Path) -> None:
    """What was committed is there after the file is opened again, field by field."""
    wanted = running(
        id="1", metadata={"a": "b"}, portrait={"width": 1, "height": 2, "faces": 1, "box": (1, 2, 3, 4), "sha256": "x"}
    )
    async with opened(tmp_path / "j") as journal:
        await journal.add_job(job(id="1"))
        await journal.save_job(wanted)
    async with opened(tmp_path / "j") as journal:
        assert await journal.job("1") == wanted
        assert await journal.job("2") is None


async def test_counts_starts(tmp_path: Path) -> None:
    """Every start of the daemon gets a higher number."""
    counts = []
    for _ in range(3):
        async with opened(tmp_path / "j") as journal:
            counts.append(await journal.boot())
    assert counts == [1, 2, 3]


async def test_pages(journal: Journal) -> None:
    """Jobs come in the order they were accepted, or newest first, from behind a given one, of one account or all."""
    for index in range(5):
        await journal.add_job(job(id=str(index), account="ab"[index % 2]))
    ids = [[found.id for found in await page] for page in (
        journal.jobs(), journal.jobs(newest_first=True, limit=2), journal.jobs(after="3", newest_first=True, limit=2),
        journal.jobs("b"), journal.jobs(after="2"),
    )]  # fmt: skip
    assert ids == [["0", "1", "2", "3", "4"], ["4", "3"], ["2", "1"], ["1", "3"], ["3", "4"]]


async def test_pages_after_what_is_gone(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place of a removed job is known for a while, to its own account and to admins."""
    monkeypatch.setattr(journals, "REMOVED", 2)
    for index in range(5):
        await journal.add_job(job(id=str(index), account="a"))
    for index in (1, 2, 3):
        await journal.remove_job(str(index))
    assert [found.id for found in await journal.jobs("a", after="2")] == ["4"]
    assert [found.id for found in await journal.jobs("a", after="2", newest_first=True)] == ["0"]
    asked = [("2", "a"), ("2", None), ("0", "a"), ("2", "b"), ("0", "b"), ("1", "a"), ("none", None)]
    assert [await journal.had("jobs", *each) for each in asked] == [True] * 3 + [False] * 4
    assert not await journal.had("files", "2", "a")


async def test_unfinished_and_finished(journal: Journal) -> None:
    """A start finds what has not ended; a sweep finds what has, the first to expire in front."""
    for index, (status, expires_at) in enumerate(
        [("queued", None), ("completed", 9.0), ("in_progress", None), ("failed", 5.0)]
    ):
        await journal.add_job(job(id=str(index), status=status, expires_at=expires_at))
    assert [found.id for found in await journal.unfinished_jobs()] == ["0", "2"]
    assert [found.id for found in await journal.finished_jobs()] == ["3", "1"]


async def test_idempotency_key_is_claimed_once(journal: Journal) -> None:
    """The second use of a key names the first job and writes nothing; another account's key is another key."""
    await journal.add_job(job(id="1"), "key", "print")
    with pytest.raises(Replayed) as replayed:
        await journal.add_job(job(id="2"), "key", "other")
    assert (replayed.value.job, replayed.value.fingerprint) == ("1", "print")
    assert await journal.job("2") is None
    await journal.add_job(job(id="3", account="else"), "key", "other")


async def test_idempotency_key_lives_a_day(journal: Journal) -> None:
    """A key may be used anew 24 hours later."""
    await journal.add_job(job(id="1", created_at=0.0), "key", "print")
    await journal.add_job(job(id="2", created_at=86401.0), "key", "other")


async def test_one_failure_spoils_no_neighbour(journal: Journal) -> None:
    """Writes that share a commit succeed and fail each for itself."""
    await journal.add_job(job(id="1"))
    writes = [journal.add_job(job(id=id)) for id in ("2", "1", "3")]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), sqlite3.IntegrityError, type(None)]
    assert [found.id for found in await journal.jobs()] == ["1", "2", "3"]


async def test_close_commits_what_waits(tmp_path: Path) -> None:
    """Nothing asked for before the end is lost."""
    async with opened(tmp_path / "j") as journal:
        writes = [journal.add_job(job(id=str(index))) for index in range(100)]
    await asyncio.gather(*writes)
    async with opened(tmp_path / "j") as journal:
        assert len(await journal.jobs()) == 100


async def test_remove_forgets_the_key_too(journal: Journal) -> None:
    """A removed job's idempotency key is free."""
    await journal.add_job(job(id="1"), "key", "print")
    await journal.remove_job("1")
    assert await journal.replayed("local", "key", 1.0) is None
    assert await journal.job("1") is None


async def test_a_work_that_fails_leaves_the_others(journal: Journal) -> None:
    """Whatever one work raises is its own failure; the journal goes on."""
    outcomes = await asyncio.gather(
        journal.add_job(job(id="1")), journal.job("\ud800"), journal.add_job(job(id="2")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), UnicodeEncodeError, type(None)]
    assert [found.id for found in await journal.jobs()] == ["1", "2"]


async def test_files(journal: Journal) -> None:
    """File rows are kept and removed like jobs."""
    record = Record(
        id="file_1", account="a", filename="speech.wav", bytes=3, created_at=1.0, expires_at=2.0, purpose="user_data",
        kind="speech", speech=SpeechFacts(seconds=1.0, rate=8000, channels=2, sha256="s"),
    )  # fmt: skip
    await journal.add_file(record)
    await journal.add_file(msgspec.structs.replace(record, id="file_2", account="b"))
    assert await journal.file("file_1") == record
    assert [found.id for found in await journal.files("b")] == ["file_2"]
    await journal.remove_file("file_1")
    assert await journal.file("file_1") is None


async def test_file_that_is_no_database(tmp_path: Path) -> None:
    """A strange file is refused by name and left as it is."""
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"this is not a database, and it is long enough to be looked at" * 20)
    with pytest.raises(ConfigurationError, match=r"journal\.sqlite3.*--state-dir"):
        Journal(path).open()
    assert path.read_bytes().startswith(b"this is not")


async def test_disk_that_turns_read_only(journal: Journal) -> None:
    """A write is refused with the disk's code, and works again once that is mended."""
    for job_id, switch in (("1", "ON"), ("2", "OFF")):
        journal._db.execute(f"PRAGMA query_only = {switch}")
        if switch == "ON":
            with pytest.raises(EchodError, match="readonly") as refused:
                await journal.add_job(job(id=job_id))
            assert (refused.value.code, refused.value.status) == ("disk_failed", 507)
        else:
            await journal.add_job(job(id=job_id))
    assert [found.id for found in await journal.jobs()] == ["2"]


@pytest.mark.parametrize("way", [Path.hardlink_to, Path.symlink_to, lambda new, old: old.rename(new)])
async def test_one_daemon_at_a_time(tmp_path: Path, way: Callable[[Path, Path], object]) -> None:
    """Whoever has the journal keeps it, under whatever name and in whatever directory another one finds it."""
    (tmp_path / "elsewhere").mkdir()
    async with opened(tmp_path / "j") as journal:
        way(tmp_path / "elsewhere" / "k", tmp_path / "j")
        with pytest.raises(ConfigurationError, match=r"another daemon uses the journal .*elsewhere/k"):
            Journal(tmp_path / "elsewhere" / "k").open()
        await journal.add_job(job(id="1"))
    async with opened(tmp_path / "elsewhere" / "k"):
        pass


async def test_torn_pages_are_refused(tmp_path: Path) -> None:
    """A journal that is damaged behind its header is not used, and left as it is."""
    path = tmp_path / "journal"
    async with opened(path) as journal:
        await journal.add_job(job())
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


RECORD = Record(
    id="2", account="a", filename="s.wav", bytes=3, created_at=1.0, expires_at=2.0, purpose="user_data", kind="speech"
)


@pytest.mark.parametrize(("table", "id"), [("jobs", "1"), ("files", "2")])
async def test_damaged_row(tmp_path: Path, table: str, id: str) -> None:
    """A start is refused that finds one, with file and row; one that a running daemon meets is an internal error."""
    path = tmp_path / "j"
    async with opened(path) as journal:
        await journal.add_job(job(id="1"))
        await journal.add_file(RECORD)
        damage(path, table, id, b"{broken")
        for look in (journal.job("1"), journal.jobs()) if table == "jobs" else (journal.file("2"), journal.files()):
            with pytest.raises(EchodError, match=f"the journal's row of {id} is damaged") as refusal:
                await look
            assert refusal.value.code == "internal"
    repair = f"the journal's row of {id} .*DELETE FROM {table} WHERE rowid = 1"
    with pytest.raises(ConfigurationError, match=f"^{path}: row 1 of {table} is damaged: {repair}"):
        Journal(path).open()


async def test_one_flipped_bit(tmp_path: Path) -> None:
    """Whatever bit of a row flips, the row is taken as it is or refused; nothing else happens."""
    path = tmp_path / "j"
    async with opened(path) as journal, AsyncExitStack() as stack:
        db = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
        db.execute("PRAGMA synchronous=OFF")
        await journal.add_job(job(id="1", prompt="h\u00e9"))
        whole = msgspec.json.encode(await journal.job("1"))
        refused = 0
        for bit in range(0, 8 * len(whole), 5):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            db.execute("UPDATE jobs SET data = ?", (bytes(flipped),))
            try:
                found = await journal.job("1")
            except EchodError:
                refused += 1
            else:
                assert found is not None and found.id == "1"
        assert refused
