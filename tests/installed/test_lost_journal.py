"""The journal is missing, empty, or not the one that this state directory had."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from echod.errors import ConfigurationError
from echod.host import strays
from echod.journal import Journal
from echod.uploads.rows import FileRows
from tests.drivers.running import LIGHT, RunningDaemon
from tests.making.jobs import job
from tests.making.rows import RECORD, opened

JOB, FILE = "video_" + "a" * 32, "file_" + "b" * 32


def missing(journal: Path) -> None:
    journal.unlink()


def empty(journal: Path) -> None:
    journal.write_bytes(b"")


def another(journal: Path) -> None:
    """A database with nothing in it, as `sqlite3 FILE VACUUM` makes one."""
    journal.unlink()
    with closing(sqlite3.connect(journal)) as db:
        db.execute("VACUUM")


def emptied(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as db, db:
        for table in ("jobs", "files", "accounts"):
            db.execute(f"DELETE FROM {table}")


LOSSES = pytest.mark.parametrize("loss", [missing, empty, another, emptied])


async def make_state(directory: Path) -> Path:
    """A state directory with a job and an upload; its journal."""
    path = directory / "echod.sqlite3"
    async with opened(path) as rows:
        await rows.add(job(id=JOB))
        await FileRows(rows.journal).add(RECORD)
    for holding, id in (("jobs", JOB), ("files", FILE)):
        (directory / holding).mkdir()
        strays.make(directory / holding / id)
        (directory / holding / id / "bytes").touch()
        strays.accepted(directory / holding / id)
    (directory / "signing.key").write_bytes(bytes(32))
    return path


def contents(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Journal(path).open()
    assert refused.value.exit_code == 78
    return refused.value.message


def obey(message: str) -> None:
    """Do what the message says, to the letter."""
    [command] = re.findall("`(mkdir [^`]*)`", message)
    subprocess.run(command, shell=True, check=True)


@LOSSES
async def test_refused_until_somebody_decides(tmp_path: Path, loss: Callable[[Path], None]) -> None:
    """What the journal knew is neither removed nor used without it; the command in the refusal sets it all aside."""
    state = tmp_path / "it's a state"
    state.mkdir()
    path = await make_state(state)
    loss(path)
    before = contents(state)
    message = refusal(path)
    assert "1 jobs, 1 files" in message and "Put it back" in message
    assert contents(state) == before
    obey(message)
    async with opened(path) as rows:
        assert await rows.select() == []
    left = {f"jobs/{JOB}/bytes", f"files/{FILE}/bytes", "signing.key"}
    assert contents(state / "aside") >= left
    assert not left & contents(state)


@pytest.mark.parametrize("held", ["by another program", "on a disk that fails"])
async def test_nothing_is_wrong_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str) -> None:
    """What cannot be read or written at present is to be mended; nobody is told to start without it."""
    path = await make_state(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        if held == "by another program":
            db.execute("BEGIN EXCLUSIVE")
            monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0.0))
        else:
            monkeypatch.setattr(os, "open", refuse)
        message = refusal(path)
    assert "Mend its disk" in message and "mkdir" not in message


def refuse(*_: object) -> int:
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize("beside", ["signing.key", "echod.sqlite3-wal"])
@pytest.mark.parametrize("loss", [missing, empty])
async def test_accounts_without_clips(tmp_path: Path, loss: Callable[[Path], None], beside: str) -> None:
    """Where there is nothing but traces of an earlier journal, its accounts are missed all the same."""
    async with opened(tmp_path / "echod.sqlite3"):
        pass
    loss(tmp_path / "echod.sqlite3")
    (tmp_path / beside).write_bytes(b"trace")
    message = refusal(tmp_path / "echod.sqlite3")
    assert beside in message
    assert (tmp_path / beside).read_bytes() == b"trace"  # SQLite has not removed it
    obey(message)
    async with opened(tmp_path / "echod.sqlite3"):
        pass


async def test_fresh_directories_are_no_loss(tmp_path: Path) -> None:
    """A first start is one, also where roles were put before, or a first start was cut short."""
    for name in ("jobs", "files", "roles/ada", f"jobs/{JOB}", "jobs/lost+found"):
        (tmp_path / name).mkdir(parents=True)
    strays.make(tmp_path / "files" / FILE)
    (tmp_path / "echod.sqlite3").touch()
    async with opened(tmp_path / "echod.sqlite3") as rows:
        assert await rows.select() == []


async def test_a_damaged_journal_is_set_aside_with_all_it_knew(tmp_path: Path) -> None:
    """Whoever follows the advice for a file that cannot be used loses nothing, and is not refused again."""
    path = await make_state(tmp_path)
    path.write_bytes(b"not a database, but longer than its header would be" * 100)
    obey(refusal(path))
    async with opened(path) as rows:
        assert await rows.select() == []
    assert contents(tmp_path / "aside") == {"echod.sqlite3", f"jobs/{JOB}/bytes", f"files/{FILE}/bytes", "signing.key"}


def refused_start(state: Path) -> str:
    command: list[str | Path] = [*LIGHT, "serve", "--port", "0"]
    command += ["--state-dir", state, "--runtime-dir", state.parent / "run"]
    ended = subprocess.run(command, env={"HOME": str(state.parent)}, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "Traceback" in ended.stderr) == (78, False), ended.stderr
    return ended.stderr


def test_nobody_is_let_in(tmp_path: Path) -> None:
    """The installed daemon does not start without its journal, nor beside another, and once it is back nothing was."""
    with RunningDaemon(tmp_path, command=LIGHT) as daemon:
        with daemon.client() as client:
            client.add_account("anna", "admin", "correct horse")
        assert httpx.get(f"{daemon.tcp}/v1/videos").status_code == 401
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "echod.sqlite3").hardlink_to(daemon.state_dir / "echod.sqlite3")
        assert "another daemon uses the state directory" in refused_start(daemon.state_dir)
        assert "another daemon uses the journal" in refused_start(tmp_path / "copy")
        assert daemon.stop() == 0
        journal = daemon.state_dir / "echod.sqlite3"
        journal.rename(tmp_path / "moved")
        with pytest.raises(AssertionError, match=r"echod\.sqlite3 .* is missing or empty, .*signing\.key"):
            daemon.start()
        assert daemon.process.wait(60) == 78
        (tmp_path / "moved").rename(journal)
        daemon.start()
        assert httpx.get(f"{daemon.tcp}/v1/videos").status_code == 401
