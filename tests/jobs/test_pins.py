"""Clips that stay, and whose go where there is no room for all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from echod.errors import EchodError
from echod.jobs.job import Job
from echod.jobs.pins import pin, unpin
from echod.jobs.rows import JobRows
from echod.jobs.sweep import sweep, too_many
from echod.journal import Journal
from tests.drivers.office import Office
from tests.making.jobs import job


def gone(cap: int, *clips: tuple[str, int] | tuple[str, int, bool]) -> list[int]:
    """The places of those that go, of clips by account, size and whether they are pinned, the oldest first."""
    jobs = [job(id=str(place), account=each[0], pinned=each[2:] == (True,)) for place, each in enumerate(clips)]
    sizes = {str(place): each[1] for place, each in enumerate(clips)}
    return [int(each.id) for each in too_many(jobs, sizes, cap)]


def test_who_has_most_loses_the_oldest() -> None:
    """Not whoever's clip is the oldest, and no more than has to go."""
    assert gone(60, ("bert", 10), ("anna", 20), ("anna", 20), ("anna", 20)) == [1]
    assert gone(10, ("bert", 10), ("anna", 20), ("anna", 20), ("anna", 20)) == [1, 2, 3]
    assert gone(70, ("bert", 10), ("anna", 60)) == []


def test_an_equal_share_is_safe() -> None:
    """However much one account makes, another that has less than its part of the cap keeps everything."""
    flood = [("eve", 5)] * 100
    assert gone(100, ("anna", 30), ("bert", 30), *flood) == list(range(2, 94))
    assert gone(100, ("anna", 60), *flood) == [*range(1, 89), 0]  # hers is more than half of it


def test_pinned_clips_make_room_for_nobody() -> None:
    """They count, and the others of their account go; where only pinned ones are left, nothing does."""
    assert gone(30, ("anna", 20, True), ("anna", 10), ("bert", 15)) == [1, 2]
    assert gone(10, ("anna", 20, True), ("bert", 20, True)) == []


async def test_pinned_clips_do_not_expire(office: Office) -> None:
    """Until they are unpinned; then they are kept as long as a new one."""
    kept, other = [await office.clip() for _ in range(2)]
    pinned = await pin(office.desk, kept, "a")
    assert (pinned.pinned, pinned.expires_at) == (True, None)
    assert (await pin(office.desk, kept, "a")) == pinned
    office.clock.now += office.desk.settings.now.keep_clips + 1
    await sweep(office.desk)
    assert [job.id for job in (await office.desk.list(None))[0]] == [kept]
    assert not office.desk.directory(other).exists()
    again = await unpin(office.desk, kept, "a")
    assert (again.pinned, again.expires_at) == (False, office.clock.now + office.desk.settings.now.keep_clips)
    office.clock.now += office.desk.settings.now.keep_clips + 1
    await sweep(office.desk)
    assert (await office.desk.list(None))[0] == []


@pytest.mark.parametrize("limits", [{"pins_per_account": "1MB", "clips_cap": "3MB"}])
async def test_pins_cannot_fill_the_disk(office: Office) -> None:
    """Neither those of one account nor those of all; both refusals name the setting."""
    hers = [await office.clip(size=700_000) for _ in range(2)]
    his = [await office.clip(size=700_000, account="b") for _ in range(2)]
    await pin(office.desk, hers[0], "a")
    with pytest.raises(EchodError, match="pins_per_account is") as refused:
        await pin(office.desk, hers[1], "a")
    assert refused.value.code == "quota_exceeded"
    await pin(office.desk, his[0], "b")
    third = await office.clip(size=200_000, account="c")
    with pytest.raises(EchodError, match="half of clips_cap"):
        await pin(office.desk, third, "c")
    await unpin(office.desk, hers[0], "a")
    assert (await pin(office.desk, third, "c")).pinned


async def test_what_cannot_be_pinned(office: Office) -> None:
    """Another's clip, one that is not made yet, and one that is not there."""
    made, waiting = await office.clip(), (await office.desk.accept(office.draft)).id
    for id, account, code in ((made, "b", "not_found"), (waiting, "a", "not_ready"), ("video_0", "a", "not_found")):
        with pytest.raises(EchodError) as refused:
            await pin(office.desk, id, account)
        assert refused.value.code == code


async def test_jobs_from_before_pins(tmp_path: Path) -> None:
    """A row that an earlier echod wrote is read: it is not pinned."""
    journal = Journal(tmp_path / "j", JobRows)
    journal.open()
    old = msgspec.to_builtins(job(status="completed", expires_at=5.0))
    del old["pinned"]

    def write(db: sqlite3.Connection) -> None:
        row = ("video_1", "local", "completed", 5.0, msgspec.json.encode(old))
        db.execute("INSERT INTO jobs (id, account, status, expires_at, data) VALUES (?, ?, ?, ?, ?)", row)

    await journal.do(write)
    await journal.close()
    journal = Journal(tmp_path / "j", JobRows)
    journal.open()
    rows = JobRows(journal)
    [found] = await rows.finished()
    assert isinstance(found, Job) and not found.pinned and found.expires_at == 5.0
    await journal.close()
