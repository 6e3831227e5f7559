"""Starts over a state directory in which one thing is not as the daemon left it.

Each is refused in words, with what to do, or comes up with everything that is whole. Neither removes anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from echod import daemon as daemons
from echod.config import Config
from echod.daemon import Daemon
from echod.errors import EchodError
from echod.host import strays
from echod.host.directories import create_directory, owned
from echod.inspection.facts import PortraitFacts
from echod.jobs.rows import JobRows
from echod.jobs.sweep import sweep
from echod.journal import Journal
from echod.uploads.rows import FileRows
from echod.workers.portraits import Portraits
from tests.drivers.office import Idle
from tests.making.config import make_config
from tests.making.jobs import job
from tests.making.rows import RECORD

ENDED, WAITING, FILE = "video_" + "1" * 32, "video_" + "2" * 32, "file_" + "3" * 32
PICTURE = b"a picture"
SHA256 = hashlib.sha256(PICTURE).hexdigest()
PORTRAIT = PortraitFacts(width=64, height=48, faces=1, box=(1, 2, 3, 4), sha256=SHA256)

Act = Callable[[Path], object]


class Damage(NamedTuple):
    """What is done to the state directory, and a word of the refusal; None where the daemon starts all the same."""

    name: str
    act: Act
    refused: str | None


# What may happen


def sql(*statements: str) -> Act:
    def act(state: Path) -> None:
        with closing(sqlite3.connect(state / "echod.sqlite3")) as db, db:
            for statement in statements:
                db.execute(statement)

    return act


def holds(name: str, data: bytes) -> Act:
    return lambda state: place(state, name).write_bytes(data)


def is_directory(name: str) -> Act:
    return lambda state: place(state, name).mkdir()


def is_fifo(name: str) -> Act:
    return lambda state: os.mkfifo(place(state, name))


def is_link(name: str, to: str) -> Act:
    return lambda state: place(state, name).symlink_to(to)


def is_gone(name: str) -> Act:
    return lambda state: place(state, name)


def has_mode(name: str, mode: int) -> Act:
    return lambda state: (state / name).chmod(mode)


def moved_and_linked(name: str) -> Act:
    def act(state: Path) -> None:
        (state / name).rename(state.parent / name)
        (state / name).symlink_to(state.parent / name)

    return act


def place(state: Path, name: str) -> Path:
    """Where something is to be, with nothing there."""
    path = state / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def torn(state: Path) -> None:
    data = (state / "echod.sqlite3").read_bytes()
    (state / "echod.sqlite3").write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))


def cut_short(state: Path) -> None:
    os.truncate(state / "echod.sqlite3", 4096 * 3 + 100)


def stray(state: Path) -> None:
    (state / "jobs" / ("video_" + "9" * 32)).mkdir()
    (state / "jobs" / ("video_" + "9" * 32) / "clip.mp4").touch()


def indexed_otherwise(state: Path) -> None:
    """An index that does not find what is there: updates of a job by its status would pass it by."""
    sql(
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX jobs_by_status ON jobs (account)' WHERE name = 'jobs_by_status'",
    )(state)


def keyless(state: Path) -> None:
    (state / "signing.key").unlink()
    (state / "signing.key.part").mkdir()


NESTED = b"title = " + b"[" * 30_000
HUGE = b"[options]\nseed = 0x" + b"f" * 60_000
DIGITS = b"[options]\nseed = " + b"9" * 60_000

JOURNAL = (
    Damage(
        "no database", holds("echod.sqlite3", b"not a database, but longer than a header. " * 100), "not a database"
    ),
    Damage("torn pages", torn, "cannot be used as the journal"),
    Damage("cut short", cut_short, "cannot be used as the journal"),
    Damage("journal is a directory", is_directory("echod.sqlite3"), "Is a directory"),
    Damage("journal is a pipe", is_fifo("echod.sqlite3"), "cannot be used as the journal"),
    Damage("journal is a link to nothing", is_link("echod.sqlite3", "nowhere"), "an earlier one has left"),
    Damage("journal is a link to a device", is_link("echod.sqlite3", "/dev/null"), "cannot be used as the journal"),
    Damage("journal is missing", is_gone("echod.sqlite3"), "an earlier one has left"),
    Damage("journal is empty", holds("echod.sqlite3", b""), "an earlier one has left"),
    Damage("newer schema", sql("PRAGMA user_version = 99"), "schema 99"),
    Damage("older schema than it has", sql("PRAGMA user_version = 1"), "already exists"),
    Damage("negative schema", sql("PRAGMA user_version = -1"), "user_version is -1"),
    Damage("a table is missing", sql("DROP TABLE sessions"), "it has no sessions"),
    Damage("a column is missing", sql("ALTER TABLE jobs DROP COLUMN expires_at"), "it has no jobs.expires_at"),
    Damage("an index is missing", sql("DROP INDEX jobs_by_status"), None),
    Damage("an index of something else", indexed_otherwise, "missing from index"),
    Damage("wal of another", holds("echod.sqlite3-wal", os.urandom(40_000)), None),
    Damage("wal is a directory", is_directory("echod.sqlite3-wal"), "cannot be used as the journal"),
    Damage("shm of another", holds("echod.sqlite3-shm", os.urandom(32768)), None),
    Damage("shm is a directory", is_directory("echod.sqlite3-shm"), "cannot be used as the journal"),
)
ROWS = (
    Damage("job that is none", sql("UPDATE jobs SET data = '{broken'"), "row 1 of jobs is damaged"),
    Damage("job that is a number", sql("UPDATE jobs SET data = 7"), "row 1 of jobs is damaged"),
    Damage("job that is deep", sql(f"UPDATE jobs SET data = '{'[' * 100_000}'"), "row 1 of jobs is damaged"),
    Damage("job of another id", sql("UPDATE jobs SET id = 'video_x' WHERE rowid = 2"), "it names another"),
    Damage("job of another account", sql("UPDATE jobs SET account = 'eve'"), "columns of video_1"),
    Damage("job of another status", sql("UPDATE jobs SET status = 'queued' WHERE rowid = 1"), "columns of video_1"),
    Damage("file that is none", sql("UPDATE files SET data = x'ff00'"), "row 1 of files is damaged"),
    Damage("account of no role", sql("UPDATE accounts SET role = 'root'"), "row 1 of accounts"),
    Damage("account without a name", sql("UPDATE accounts SET name = x'00ff'"), "row 1 of accounts"),
    Damage("account of the year 10^20", sql("UPDATE accounts SET created_at = 9e999"), "row 1 of accounts"),
    Damage("password of no kind", sql("UPDATE accounts SET password = 'plain'"), None),
    Damage("token of nobody", sql("UPDATE tokens SET account = 'eve'"), "row 1 of tokens"),
    Damage("token for ever and a day", sql("UPDATE tokens SET expires_at = 'soon'"), "row 1 of tokens"),
    Damage("token for everything", sql("UPDATE tokens SET role = 'root'"), "row 1 of tokens"),
    Damage("webhook without a secret", sql("UPDATE webhooks SET secret = x'00'"), "row 1 of webhooks"),
    Damage("delivery of no state", sql("UPDATE deliveries SET state = 'lost'"), "row 1 of deliveries"),
    Damage("session of nobody", sql("UPDATE sessions SET account = 'eve'"), "row 1 of sessions"),
    Damage("session without an end", sql("UPDATE sessions SET expires_at = 'never'"), "row 1 of sessions"),
    Damage("key of nothing", sql("UPDATE idempotency SET job = x'01'"), "row 1 of idempotency"),
    Damage("starts beyond number", sql(f"UPDATE counters SET value = {2**62}"), "row 1 of counters"),
    Damage("starts that are words", sql("UPDATE counters SET value = 'many'"), "row 1 of counters"),
    Damage("starts that were forgotten", sql("DELETE FROM counters"), None),
    Damage("usage of no day", sql("UPDATE usage SET at = 'today'"), "row 1 of usage"),
    Damage("usage of so many", sql("UPDATE usage SET characters = 'many'"), "row 1 of usage"),
)
KEYS = (
    Damage("key is short", lambda state: os.truncate(state / "signing.key", 31), "signing.key is damaged"),
    Damage("key is long", lambda state: os.truncate(state / "signing.key", 2**30), "signing.key is damaged"),
    Damage("key is for all to read", has_mode("signing.key", 0o644), "chmod 600"),
    Damage("key is a directory", is_directory("signing.key"), "signing.key"),
    Damage("key is a link", is_link("signing.key", "/etc/passwd"), "signing.key"),
    Damage("key is a pipe", is_fifo("signing.key"), "signing.key"),
    Damage("key is gone", is_gone("signing.key"), None),
    Damage("half of a new key", lambda state: (state / "signing.key").rename(state / "signing.key.part"), None),
    Damage("a new key has no place", keyless, "signing.key cannot be made"),
)
HOLDINGS = ("jobs", "files", "roles", "cache", "cache/roles", "cache/speech")
DIRECTORIES = (
    *(Damage(f"{name} is a file", holds(name, b""), f"{name} is no directory") for name in HOLDINGS),
    *(Damage(f"{name} is for all", has_mode(name, 0o777), None) for name in HOLDINGS),
    *(Damage(f"{name} is gone", is_gone(name), None) for name in ("jobs", "files", "roles", "cache")),
    *(Damage(f"{name} is elsewhere", moved_and_linked(name), None) for name in ("jobs", "files", "roles")),
    Damage("state directory is for all to write", has_mode(".", 0o777), "chmod o-w"),
    Damage("a job's directory is gone", is_gone(f"jobs/{WAITING}"), None),
    Damage("a job's directory is a file", holds(f"jobs/{WAITING}", b""), None),
    Damage("a job's directory is a link", is_link(f"jobs/{ENDED}", "/etc"), None),
    Damage("a job's input is gone", is_gone(f"jobs/{WAITING}/speech.flac"), None),
    Damage("a clip is gone", is_gone(f"jobs/{ENDED}/clip.mp4"), None),
    Damage("a file's directory is a file", holds(f"files/{FILE}", b""), None),
    Damage("a job that nobody knows", stray, None),
    Damage("what inspection found is deep", holds("cache/roles/other/portrait.json", b"[" * 100_000), None),
    Damage("a file system's own", is_directory("jobs/lost+found"), None),
)
ROLES = (
    *(Damage(f"role.toml is {name}", holds("roles/bad/role.toml", data), None) for name, data in {
        "empty": b"", "no text": b"\xff\xfe", "no toml": b"= =", "deep": NESTED, "a huge number": HUGE,
        "long digits": DIGITS, "too long": b"#" * 70_000,
    }.items()),
    Damage("role.toml is a directory", is_directory("roles/bad/role.toml"), None),
    Damage("role.toml is a pipe", is_fifo("roles/bad/role.toml"), None),
    Damage("role.toml is a device", is_link("roles/bad/role.toml", "/dev/zero"), None),
    Damage("role is a file", holds("roles/bad", b""), None),
    Damage("role is a link", is_link("roles/bad", "/"), None),
    Damage("portrait is gone", is_gone("roles/bad/portrait.png"), None),
    Damage("portrait is a pipe", is_fifo("roles/bad/portrait.png"), None),
    Damage("role of no name", lambda state: (state / "roles/bad").rename(state / "roles" / os.fsdecode(b"\xff\n\x1b")),
           None),
)  # fmt: skip
DAMAGES = (*JOURNAL, *ROWS, *KEYS, *DIRECTORIES, *ROLES)


# A state directory as a daemon leaves it


async def make(state: Path) -> None:
    journal = Journal(state / "echod.sqlite3")
    journal.open()
    await journal.boot()
    done = {"status": "completed", "expires_at": 1e10, "attempt": 1}
    rows = JobRows(journal)
    await rows.add(job(id=ENDED, account="anna", **done), "key", "print")
    await rows.add(job(id=WAITING, account="anna"))
    await FileRows(journal).add(msgspec.structs.replace(RECORD, id=FILE, account="anna", expires_at=1e10))
    await journal.do(
        lambda db: [
            db.execute("INSERT INTO accounts VALUES ('anna', 'admin', 'hash', 1.0, FALSE)"),
            db.execute("INSERT INTO tokens VALUES ('token_1', 'anna', 'laptop', 'digest', 1.0, NULL, NULL)"),
            db.execute("INSERT INTO sessions VALUES ('digest', 'anna', 1e10)"),
            db.execute("INSERT INTO webhooks VALUES ('wh_1', 'anna', 'n', 'u', 's', 'video.failed', 0, 1.0, NULL)"),
            db.execute("INSERT INTO deliveries VALUES ('e', 'wh_1', 'v', 't', 1.0, 'failed', 1, 1.0, 1.0, NULL)"),
            db.execute("INSERT INTO usage VALUES (1e9, 'anna', 'speak', 'b', 'm', 'ok', 1, 1, 1, 1.0, x'7b7d')"),
        ]
    )
    await journal.close()
    for directory in (state / "jobs" / ENDED, state / "jobs" / WAITING, state / "files" / FILE):
        directory.mkdir(mode=0o700, parents=True)
        for name in ("portrait.png", "speech.flac", "clip.mp4"):
            (directory / name).write_bytes(name.encode())
    for role in ("good", "bad"):
        (state / "roles" / role).mkdir(parents=True)
        (state / "roles" / role / "role.toml").write_text('portrait = "portrait.png"\n')
        (state / "roles" / role / "portrait.png").write_bytes(PICTURE)
    (state / "cache" / "speech").mkdir(parents=True)
    for digest in (SHA256, "other"):
        (state / "cache" / "roles" / digest).mkdir(parents=True)
        (state / "cache" / "roles" / digest / "portrait.json").write_bytes(msgspec.json.encode(PORTRAIT))
        (state / "cache" / "roles" / digest / "portrait.png").write_bytes(PICTURE)
    (state / "signing.key").write_bytes(bytes(32))
    (state / "signing.key").chmod(0o600)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("whole") / "state"
    state.mkdir(mode=0o700)
    asyncio.run(make(state))
    return state


@pytest.fixture
def config(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """Workers are left out: no start here gets as far as to need one."""
    monkeypatch.setattr(daemons, "find_devices", lambda wanted: ("cpu",))
    monkeypatch.setattr(daemons, "Fleet", lambda *_, **__: Fleet())
    config = make_config(tmp_path)
    shutil.copytree(whole, config.state_dir, symlinks=True)
    yield config


class Fleet(Idle):
    on_change: Callable[[], None]
    portraits = Portraits([])

    def devices(self) -> list[Any]:
        return []


async def start(config: Config) -> Daemon:
    """All that a daemon opens, reads and clears away before its port is open and once it is; then its end."""
    daemon = Daemon(config, lambda: config)
    with owned(config.state_dir):
        create_directory(config.runtime_dir)
        async with AsyncExitStack() as stack:
            journal = await daemon._open_journal(stack)
            await daemon._open_desk(stack, journal)
            await daemon._open_services(stack, journal)
            await daemon.files.sweep(daemon.clock())
            await sweep(daemon.desk)
            await daemon.accounts.sweep(daemon.clock())
            await daemon.roles.look()
            assert (await daemon.desk.find(ENDED, "anna")).status == "completed"
            assert (await daemon.desk.find(WAITING, "anna")).status == "queued"
            assert daemon.accounts.find("anna").role == "admin"
    return daemon


def contents(state: Path) -> set[str]:
    """Names and sizes of all that people care for."""
    found = set()
    for holding in ("jobs", "files", "roles"):
        for path in (state / holding).rglob("*"):
            if path.is_file():
                found.add(f"{path.parent.name}/{path.name}: {path.stat().st_size}")
    return found


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
async def test_start(config: Config, damage: Damage) -> None:
    """It is refused with 78 in a sentence, or everything that is whole is served; nothing is removed either way."""
    damage.act(config.state_dir)
    before = contents(config.state_dir)
    async with asyncio.timeout(20):
        if damage.refused is None:
            daemon = await start(config)
            loaded = {role.name for role in daemon.roles.loaded}
            if damage in ROLES:
                assert loaded == {"good"}
            elif damage.name not in ("roles is gone", "cache is gone"):  # its picture is one to this test alone
                assert loaded == {"good", "bad"}
            for name in HOLDINGS:
                assert (config.state_dir / name).stat().st_mode & 0o777 == 0o700, name
        else:
            with pytest.raises(EchodError) as refused:
                await start(config)
            assert (refused.value.exit_code, damage.refused in refused.value.message) == (78, True), refused.value
            assert str(config.state_dir) in refused.value.message
    assert contents(config.state_dir) >= before


async def test_whole(config: Config) -> None:
    """Without damage both roles are there, and a start leaves everything as it was."""
    before = contents(config.state_dir)
    daemon = await start(config)
    assert {role.name for role in daemon.roles.loaded} == {"good", "bad"}
    assert contents(config.state_dir) == before
    assert not (config.state_dir / "jobs" / strays.ASIDE).exists()


async def test_following_the_advice(config: Config) -> None:
    """The statement in the refusal gives up the one row; the next start serves the others, and deletes no clip."""
    sql("UPDATE jobs SET data = '{' WHERE rowid = 2")(config.state_dir)
    with pytest.raises(EchodError) as refused:
        await start(config)
    command = refused.value.message.split("`")[1]
    assert command.startswith(f"sqlite3 {config.state_dir / 'echod.sqlite3'} 'DELETE FROM jobs")
    sql(command.split("'")[1])(config.state_dir)
    journal = Journal(config.state_dir / "echod.sqlite3")
    journal.open()
    assert [found.id for found in await JobRows(journal).select()] == [ENDED]
    await journal.close()
