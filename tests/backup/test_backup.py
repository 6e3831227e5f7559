"""A copy of the state directory: what is in it, what is told of it, and where it may be put."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from echod.backup import record, restoring, taking
from echod.backup.restoring import restore
from echod.backup.taking import back_up
from echod.errors import ConfigurationError
from echod.host.directories import owned
from echod.roles import folder
from echod.uploads.rows import FileRows
from tests.making.jobs import after, done, job, running
from tests.making.rows import RECORD, opened

CLIP, QUEUED, RUNNING = (f"video_{letter * 32}" for letter in "abc")
UPLOAD = f"file_{'d' * 32}"
INPUTS = {"portrait.png", "speech.flac"}
PARTS = {"clip.mp4.part", "stream.1", "board/progress"}


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """Three jobs, one of them completed and one half made, an upload, a role and keys."""
    state = tmp_path / "state"
    state.mkdir()
    async with opened(state / "echod.sqlite3") as rows:
        await rows.add(after(running(id=CLIP), done()))
        await rows.add(job(id=QUEUED))
        await rows.add(running(id=RUNNING))
        await FileRows(rows.journal).add(msgspec.structs.replace(RECORD, id=UPLOAD))
    write(state / "files" / UPLOAD, {"upload", "portrait.png"})
    write(state / "jobs" / CLIP, INPUTS | {"clip.mp4", "manifest.json"})
    write(state / "jobs" / QUEUED, INPUTS | {"before.safetensors"})
    write(state / "jobs" / RUNNING, INPUTS | PARTS)
    (state / "jobs" / CLIP / "portrait.png").unlink()
    (state / "jobs" / CLIP / "portrait.png").hardlink_to(state / "files" / UPLOAD / "portrait.png")
    write(state / "roles" / "ada", {"role.toml", "portrait.jpg", ".0123456789abcdef"})
    write(state / "credentials", {"key.pem"})
    write(state / "weights", {"reference_unet.pth"})
    write(state, {"signing.key"})
    return state


def write(directory: Path, names: set[str]) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"{directory.name}/{name}")


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def ids(journal: Path) -> set[str]:
    with closing(sqlite3.connect(journal)) as db:
        return {id for table in ("jobs", "files") for (id,) in db.execute(f"SELECT id FROM {table}")}


EXPECTED = {
    "echod.sqlite3", "backup.json", "signing.key", "credentials/key.pem", "roles/ada/role.toml",
    "roles/ada/portrait.jpg", f"files/{UPLOAD}/upload", f"files/{UPLOAD}/portrait.png",
    *(f"jobs/{CLIP}/{name}" for name in INPUTS | {"clip.mp4", "manifest.json"}),
    *(f"jobs/{QUEUED}/{name}" for name in INPUTS | {"before.safetensors"}),
    *(f"jobs/{RUNNING}/{name}" for name in INPUTS),
}  # fmt: skip


@pytest.mark.parametrize("linked", [True, False])
def test_there_and_back(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool) -> None:
    """Everything of worth is copied and comes back as it was; what is half made, weights and caches stay behind."""
    target, again = tmp_path / "backup", tmp_path / "again"
    if not linked:  # as onto another disk
        link = os.link
        monkeypatch.setattr(os, "link", lambda source, copy: link(source, copy) if inside(source, target) else refuse())
    record = back_up(state, target)
    found = contents(target)
    assert set(found) == EXPECTED
    assert (record.jobs, record.uploads, record.removed_meanwhile, record.lost) == (3, 1, [], [])
    assert all(found[name] == data for name, data in contents(state).items() if name in found and "sqlite" not in name)
    clip, portrait = target / "jobs" / CLIP / "clip.mp4", target / "jobs" / CLIP / "portrait.png"
    assert clip.samefile(state / "jobs" / CLIP / "clip.mp4") == linked
    assert portrait.samefile(target / "files" / UPLOAD / "portrait.png")
    assert restore(target, again) == record
    assert contents(again) == {name: data for name, data in found.items() if name != "backup.json"}
    assert not (again / "jobs" / CLIP / "clip.mp4").samefile(clip)
    assert ids(again / "echod.sqlite3") == {CLIP, QUEUED, RUNNING, UPLOAD}


def inside(path: Path, directory: Path) -> bool:
    return path.is_relative_to(directory)


def refuse() -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def after_journal(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Have something happen once the journal has been copied."""
    copy = taking._copy_journal

    def copied(journal: Path, target: Path) -> int:
        schema = copy(journal, target)
        then()
        return schema

    monkeypatch.setattr(taking, "_copy_journal", copied)


@pytest.mark.parametrize("left", ["nothing", "the row", "one file"])
def test_removed_meanwhile(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """What the daemon removes while its files are copied is told, and in neither the files nor the journal."""

    def remove() -> None:
        shutil.rmtree(state / "jobs" / CLIP)
        if left == "the row":  # it is about to be deleted: the files go first
            (state / "jobs" / CLIP).mkdir()
            return
        if left == "one file":
            write(state / "jobs" / CLIP, {"manifest.json"})
        with closing(sqlite3.connect(state / "echod.sqlite3")) as db, db:
            db.execute("DELETE FROM jobs WHERE id = ?", (CLIP,))

    after_journal(monkeypatch, remove)
    record = back_up(state, tmp_path / "backup")
    assert (record.removed_meanwhile, record.lost, record.jobs) == ([CLIP], [], 2)
    assert ids(tmp_path / "backup" / "echod.sqlite3") == {QUEUED, RUNNING, UPLOAD}
    assert not (tmp_path / "backup" / "jobs" / CLIP).exists()


def test_what_is_lost_is_told(state: Path, tmp_path: Path) -> None:
    """A row whose files are not there is no removal: it stays in the journal's copy, and somebody has to look."""
    shutil.rmtree(state / "jobs" / CLIP)
    (state / "files" / UPLOAD / "upload").unlink()
    record = back_up(state, tmp_path / "backup")
    assert (record.removed_meanwhile, record.lost) == ([], [CLIP, UPLOAD])
    assert ids(tmp_path / "backup" / "echod.sqlite3") == {CLIP, QUEUED, RUNNING, UPLOAD}


def test_a_role_that_changes(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role is copied as it was at one moment, before or after a change."""
    looks, real = iter(range(100)), folder.stamps

    def changing(root: Path) -> object:
        stamps = real(root)
        if next(looks) == 0:  # it is copied next
            write(root / "ada", {"portrait.png"})
        return stamps

    monkeypatch.setattr(folder, "stamps", changing)
    back_up(state, tmp_path / "backup")
    assert (tmp_path / "backup" / "roles" / "ada" / "portrait.png").exists()
    assert next(looks) == 4  # twice before and twice after


@pytest.mark.parametrize(
    ("place", "why"), [("state/backup", "lies in the state directory"), ("full", "is not empty"), ("file", "cannot be")]
)
def test_where_it_may_be(state: Path, tmp_path: Path, place: str, why: str) -> None:
    write(tmp_path, {"file", "full/x"})
    with pytest.raises(ConfigurationError, match=why):
        back_up(state, tmp_path / place)


def test_no_state(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no journal in .*--state-dir"):
        back_up(tmp_path / "nowhere", tmp_path / "backup")


def test_a_backup_that_fails_leaves_nothing(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the next one may have the directory, and nobody takes half of one for a whole one."""

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    after_journal(monkeypatch, full)
    with pytest.raises(OSError, match="No space left"):
        back_up(state, tmp_path / "backup")
    assert list((tmp_path / "backup").iterdir()) == []


def unfinished(target: Path) -> None:
    (target / "backup.json").unlink()


def short(target: Path) -> None:
    (target / "jobs" / CLIP / "clip.mp4").write_bytes(b"x")


def incomplete(target: Path) -> None:
    (target / "signing.key").unlink()


def newer(target: Path) -> None:
    record = json.loads((target / "backup.json").read_text())
    (target / "backup.json").write_text(json.dumps(record | {"schema": 99, "echod": "9.9"}))


def torn(target: Path) -> None:
    data = (target / "echod.sqlite3").read_bytes()
    (target / "echod.sqlite3").write_bytes(data[:100] + bytes(4096) + data[4196:])


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (unfinished, "no backup, or one that was broken off"),
        (short, "clip.mp4 has 1 bytes, it had 47"),
        (incomplete, "signing.key is missing"),
        (newer, r"taken by echod 9\.9 and has schema 99"),
        (torn, "echod.sqlite3: "),
    ],
)
def test_damaged_backups(state: Path, tmp_path: Path, damage: Callable[[Path], None], why: str) -> None:
    """What is not whole is not put anywhere."""
    back_up(state, tmp_path / "backup")
    damage(tmp_path / "backup")
    with pytest.raises(ConfigurationError, match=why):
        restore(tmp_path / "backup", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_restore_into_what_is_occupied(state: Path, tmp_path: Path) -> None:
    """Nothing is written over; the refusal has the command that makes room, and weights are in nobody's way."""
    back_up(state, tmp_path / "backup")
    before = contents(state)
    with pytest.raises(ConfigurationError, match="a backup is put where nothing is") as refused:
        restore(tmp_path / "backup", state)
    assert contents(state) == before
    [command] = re.findall("`(mkdir [^`]*)`", refused.value.message)
    subprocess.run(command, shell=True, check=True)
    restore(tmp_path / "backup", state)
    assert ids(state / "echod.sqlite3") == {CLIP, QUEUED, RUNNING, UPLOAD}
    assert (state / "weights" / "reference_unet.pth").exists()


def test_restore_under_a_daemon(state: Path, tmp_path: Path) -> None:
    back_up(state, tmp_path / "backup")
    again = tmp_path / "again"
    with owned(again), pytest.raises(ConfigurationError, match="another daemon uses the state directory"):
        restore(tmp_path / "backup", again)
    assert list(again.iterdir()) == []


def test_a_restore_that_fails_leaves_nothing(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back_up(state, tmp_path / "backup")
    write(tmp_path / "again", {"weights/x"})
    copy, copied = record.copy_tree, iter(range(100))

    def full(source: Path, target: Path) -> None:
        if next(copied) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(restoring, "copy_tree", full)
    with pytest.raises(OSError, match="No space left"):
        restore(tmp_path / "backup", tmp_path / "again")
    assert set(contents(tmp_path / "again")) == {"weights/x"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_roots_restore_is_the_owners(state: Path, tmp_path: Path) -> None:
    """What root puts into the service's state directory is the service's."""
    back_up(state, tmp_path / "backup")
    again = tmp_path / "again"
    again.mkdir()
    os.chown(again, 4321, 4321)
    restore(tmp_path / "backup", again)
    assert {path.lstat().st_uid for path in [again, *again.rglob("*")]} == {4321}
    assert {path.lstat().st_uid for path in (tmp_path / "backup").rglob("*")} == {0}
