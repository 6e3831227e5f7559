from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from echod.config import Settings, load
from echod.errors import EchodError
from echod.inspection.inspector import Inspector
from echod.journal import Journal
from echod.uploads.rows import Record
from echod.uploads.store import BLOCK, FileStore, display_name
from tests.making.config import make_config
from tests.making.media import EXAMPLES, write_wav

pytestmark = pytest.mark.asyncio(loop_scope="module")

PORTRAIT = (EXAMPLES / "portrait.png").read_bytes()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inspector() -> AsyncIterator[Inspector]:
    limits = {"inspect_timeout": 60, "max_seconds": 60, "max_pixels": 10**7}
    inspector = Inspector(Settings(load(limits, {}, [])))
    yield inspector
    await inspector.close()


class Bench:
    """A file store with its journal, and a clock that stands still."""

    def __init__(self, directory: Path, inspector: Inspector, **flags: object) -> None:
        self.directory = directory
        self.now = 1_000_000.0
        self.settings = Settings(make_config(directory, **flags))
        self.inspector = inspector
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.directory / "echod.sqlite3")
        self.journal.open()
        self.store = FileStore(
            self.directory / "files", self.journal, self.inspector, self.settings, clock=lambda: self.now
        )

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.store.root.iterdir())

    async def upload(self, data: bytes, filename: str = "upload.bin", account: str = "ann") -> Record:
        async with self.store.receive(account) as receiving:
            await receiving.write(data)
            return await receiving.finish(filename, "any")


@pytest_asyncio.fixture(loop_scope="module")
async def bench(tmp_path: Path, inspector: Inspector) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, inspector)
    yield bench
    await bench.journal.close()


@pytest.fixture
def speech(tmp_path: Path) -> bytes:
    return write_wav(tmp_path / "speech.wav").read_bytes()


async def refusal(awaitable: Any) -> EchodError:
    with pytest.raises(EchodError) as caught:
        await awaitable
    return caught.value


async def test_a_file_is_kept_with_what_it_is(bench: Bench) -> None:
    """The bytes, what was made of them, and the row are there when finish returns."""
    record = await bench.upload(PORTRAIT, "me.png")
    assert record.id.startswith("file_")
    assert (record.account, record.filename, record.bytes, record.kind) == ("ann", "me.png", len(PORTRAIT), "portrait")
    assert (record.created_at, record.expires_at) == (bench.now, bench.now + 86400)
    assert record.portrait is not None
    assert record.speech is None
    assert bench.store.original(record).read_bytes() == PORTRAIT
    assert bench.store.prepared(record).name == "portrait.png"
    assert bench.store.prepared(record).exists()
    assert await bench.store.find(record.id, "ann") == record


async def test_only_the_owner_reads_what_people_sent(bench: Bench) -> None:
    """Whatever the mode of a state directory that was there before, other users of the machine see no upload."""
    assert stat.S_IMODE(bench.store.root.stat().st_mode) == 0o700


async def test_bytes_arrive_in_any_portions(bench: Bench, speech: bytes) -> None:
    """Single bytes and portions larger than a block are put together in order."""
    data = speech + bytes(2 * BLOCK)  # a WAV may be followed by anything
    async with bench.store.receive("ann") as receiving:
        for place in range(50):
            await receiving.write(data[place : place + 1])
        await receiving.write(data[50 : BLOCK + 7])
        await receiving.write(data[BLOCK + 7 :])
        record = await receiving.finish("speech.wav", "speech")
    assert bench.store.original(record).read_bytes() == data
    assert record.bytes == len(data)
    assert record.kind == "speech"


async def test_leaving_early_leaves_nothing(bench: Bench) -> None:
    """A client that vanishes half way leaves neither row nor bytes."""
    with pytest.raises(ConnectionResetError):
        async with bench.store.receive("ann") as receiving:
            await receiving.write(bytes(3 * BLOCK))
            assert bench.left == [receiving.id]
            raise ConnectionResetError
    assert bench.left == []
    assert await bench.store.list("ann") == ([], False)


async def test_a_refused_file_leaves_nothing(bench: Bench) -> None:
    """What inspection refuses is gone, and the message begins with the file's name."""
    async with bench.store.receive("ann") as receiving:
        await receiving.write(b"A line of text.\n")
        error = await refusal(receiving.finish("../me.png", "portrait"))
    assert error.code == "portrait_unreadable"
    assert error.message.startswith("me.png: ")
    assert bench.left == []


async def test_inspecting_without_keeping(bench: Bench, speech: bytes) -> None:
    """What is only inspected lives until the block is left: long enough to be linked elsewhere."""
    async with bench.store.receive("ann") as receiving:
        await receiving.write(speech)
        inspected = await receiving.inspect("speech.wav", "speech")
        os.link(inspected.prepared, bench.directory / "kept.flac")
    assert (bench.directory / "kept.flac").read_bytes()[:4] == b"fLaC"
    assert bench.left == []
    assert await bench.store.list("ann") == ([], False)


async def test_the_size_limit_is_exact(tmp_path: Path, inspector: Inspector) -> None:
    """As many bytes as the limit are taken; the next one is refused, naming the setting."""
    bench = Bench(tmp_path, inspector, max_upload=1000)
    async with bench.store.receive("ann") as receiving:
        await receiving.write(bytes(1000))
        error = await refusal(receiving.write(b"!"))
    assert (error.code, "1000 bytes (setting max_upload)" in error.message) == ("payload_too_large", True)
    assert bench.left == []
    await bench.journal.close()


async def test_the_quota(tmp_path: Path, inspector: Inspector, speech: bytes) -> None:
    """What comes, and what is made of it, count; where no more is allowed nothing is left, and room can be made."""
    bench = Bench(tmp_path, inspector, disk_per_account=len(PORTRAIT) + 100_000)
    first = await bench.upload(speech)
    used = bench.store.quota.used("ann")
    assert used == sum(path.stat().st_size for path in (bench.store.root / first.id).iterdir())
    error = await refusal(bench.upload(PORTRAIT))  # which fits, but what is made of it does not
    assert (error.code, "disk_per_account" in error.message) == ("quota_exceeded", True)
    async with bench.store.receive("ann") as receiving:
        error = await refusal(receiving.write(bytes(2**20)))
    assert (error.code, "1.0 MiB more are sent" in error.message) == ("quota_exceeded", True)
    assert bench.left == [first.id]
    assert bench.store.quota.used("ann") == used
    bench.settings.now = make_config(tmp_path, disk_per_account=bench.store.quota.used("ann"))
    assert (await refusal(bench.store.receive("ann").__aenter__())).code == "quota_exceeded"
    await bench.upload(speech, account="bob")
    await bench.store.delete(first.id, "ann")
    async with bench.store.receive("ann"):
        pass
    await bench.journal.close()


async def test_uploads_at_once_share_the_quota(tmp_path: Path, inspector: Inspector, speech: bytes) -> None:
    """However many files of an account wait for inspection, what is kept of them stays within the quota."""
    bench = Bench(tmp_path, inspector, disk_per_account=5 * len(speech))
    outcomes = await asyncio.gather(*(bench.upload(speech) for _ in range(8)), return_exceptions=True)
    kept = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, EchodError)]
    assert len(kept) + len(refused) == 8
    assert {error.code for error in refused} == {"quota_exceeded"}
    assert 0 < bench.store.quota.used("ann") <= 5 * len(speech)
    assert sorted(bench.left) == sorted(record.id for record in kept)
    await bench.journal.close()


async def test_the_quota_after_a_restart(bench: Bench, speech: bytes) -> None:
    """What an earlier daemon took counts; what has expired no more."""
    await bench.upload(speech)
    used = bench.store.quota.used("ann")
    await bench.journal.close()
    bench.open()
    await bench.store.open()
    assert bench.store.quota.used("ann") == used > 0
    bench.now += 86_400
    await bench.store.sweep(bench.now)
    assert bench.store.quota.used("ann") == 0


async def test_too_little_free_space(tmp_path: Path, inspector: Inspector) -> None:
    """Below the reserve no byte is taken."""
    bench = Bench(tmp_path, inspector, min_free=shutil.disk_usage(tmp_path).total)
    error = await refusal(bench.store.receive("ann").__aenter__())
    assert (error.code, "min_free" in error.message) == ("disk_full", True)
    assert bench.left == []
    await bench.journal.close()


async def test_free_space_that_goes_while_bytes_arrive(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reserve is looked at again with each block."""
    async with bench.store.receive("ann") as receiving:
        await receiving.write(bytes(BLOCK))
        bench.settings.now = make_config(bench.directory, min_free=shutil.disk_usage(bench.directory).total)
        error = await refusal(receiving.write(bytes(BLOCK)))
    assert (error.code, "min_free" in error.message) == ("disk_full", True)
    assert bench.left == []


async def test_a_disk_that_fills_up(bench: Bench) -> None:
    """A write for which there is no room is answered with disk_full."""
    async with bench.store.receive("ann") as receiving:
        upload = bench.store.root / receiving.id / "upload"
        upload.unlink()
        upload.symlink_to("/dev/full")
        error = await refusal(receiving.write(bytes(BLOCK)))
    assert error.code == "disk_full"
    assert bench.left == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.EACCES])
async def test_a_disk_that_cannot_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Read-only or damaged, it has a code of its own, which is no fault of the file."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", fail)
    error = await refusal(bench.upload(PORTRAIT))
    assert (error.code, error.status, error.exit_code) == ("disk_failed", 507, 5)
    assert os.strerror(number) in error.message
    monkeypatch.undo()
    assert bench.left == []


@pytest.mark.parametrize("place", ["directory", "journal"])
async def test_no_room_for_the_rest(bench: Bench, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """An upload leaves nothing either when the disk is full after its directory is made, or before its row is."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full") if place == "directory" else EchodError("disk_full", "full")

    monkeypatch.setattr(*((Path, "touch", full) if place == "directory" else (bench.store.rows, "add", full)))
    assert (await refusal(bench.upload(PORTRAIT))).code == "disk_full"
    assert bench.left == []


async def test_other_accounts_see_nothing(bench: Bench, speech: bytes) -> None:
    """A file of another account is as unknown as a wrong id; the admin finds both."""
    record = await bench.upload(speech)
    for file_id, account in ((record.id, "bob"), ("file_0", "ann"), ("../ann", "ann"), ("", "ann")):
        assert (await refusal(bench.store.find(file_id, account))).code == "not_found"
        assert (await refusal(bench.store.delete(file_id, account))).code == "not_found"
    assert await bench.store.find(record.id, None) == record


async def test_listing_in_pages(bench: Bench, speech: bytes) -> None:
    """Newest first or oldest first, a page at a time, of one account or all."""
    ids = [(await bench.upload(speech)).id for _ in range(5)]
    other = await bench.upload(speech, account="bob")

    async def page(account: str | None, *arguments: Any, **options: Any) -> tuple[list[str], bool]:
        records, more = await bench.store.list(account, *arguments, **options)
        return [record.id for record in records], more

    assert await page("ann") == (ids[::-1], False)
    assert await page("ann", limit=2) == (ids[:2:-1], True)
    assert await page("ann", ids[3], 2) == ([ids[2], ids[1]], True)
    assert await page("ann", ids[1], 2) == ([ids[0]], False)
    assert await page("ann", ids[2], order="asc") == (ids[3:], False)
    assert await page(None, order="asc") == ([*ids, other.id], False)
    assert (await refusal(bench.store.list("ann", other.id))).code == "not_found"


async def test_deleting(bench: Bench, speech: bytes) -> None:
    """A deleted file is gone from disk and journal; what was linked from it stays."""
    record = await bench.upload(speech)
    os.link(bench.store.prepared(record), bench.directory / "kept.flac")
    await bench.store.delete(record.id, "ann")
    assert bench.left == []
    assert (await refusal(bench.store.find(record.id, "ann"))).code == "not_found"
    assert (bench.directory / "kept.flac").exists()


async def test_expiry(bench: Bench, speech: bytes) -> None:
    """A day later a file is unknown at once, and its bytes go with the next sweep."""
    old = await bench.upload(speech)
    bench.now += 80_000
    young = await bench.upload(speech)
    bench.now += 86_400 - 80_000
    assert (await refusal(bench.store.find(old.id, "ann"))).code == "not_found"
    assert await bench.store.list("ann") == ([young], False)
    await bench.store.sweep(bench.now)
    assert bench.left == [young.id]
    assert await bench.store.rows.select() == [young]


async def test_removal_that_was_cut_short(bench: Bench, speech: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes go before the journal, which may need their room, is written; the next sweep finishes what that breaks."""
    record, kept = await bench.upload(speech), await bench.upload(speech)

    async def full(file_id: str) -> None:
        assert list((bench.store.root / file_id).iterdir()) == []
        raise EchodError("disk_full", "no room")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.rows, "remove", full)
        assert (await refusal(bench.store.delete(record.id, "ann"))).code == "disk_full"
    await bench.store.sweep(bench.now)
    assert await bench.store.rows.select() == [kept]
    assert bench.left == [kept.id]


async def test_file_that_cannot_be_removed(
    bench: Bench, speech: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A sweep says so, goes on to the others, and tries again."""
    stuck, _ = await bench.upload(speech), await bench.upload(speech)
    unlink = Path.unlink

    def read_only(path: Path, missing_ok: bool = False) -> None:
        if stuck.id in str(path):
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, missing_ok)

    bench.now += 100_000
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", read_only)
        await bench.store.sweep(bench.now)
    assert bench.left == [stuck.id]
    assert f"{stuck.id} cannot be removed" in caplog.text
    await bench.store.sweep(bench.now)
    assert bench.left == []


async def test_what_a_death_left_is_swept(bench: Bench, speech: bytes) -> None:
    """After a restart directories without a row are removed; finished files stay."""
    record = await bench.upload(speech)
    receiving = bench.store.receive("ann")
    await receiving.__aenter__()
    await receiving.write(bytes(BLOCK))
    await bench.journal.close()
    bench.open()
    await bench.store.sweep(bench.now)
    assert bench.left == [record.id]
    assert await bench.store.find(record.id, "ann") == record


async def test_what_lost_its_row_is_set_aside(bench: Bench, speech: bytes) -> None:
    """A journal that was restored from an older copy does not delete what was uploaded since."""
    record = await bench.upload(speech)
    await bench.store.rows.remove(record.id)
    await bench.store.sweep(bench.now)
    assert bench.left == ["aside"]
    assert (bench.store.root / "aside" / record.id / "upload").read_bytes() == speech


async def test_sweeping_spares_what_is_being_received(bench: Bench, speech: bytes) -> None:
    """A sweep in the middle of an upload does not touch it."""
    async with bench.store.receive("ann") as receiving:
        await receiving.write(speech)
        await bench.store.sweep(bench.now)
        record = await receiving.finish("speech.wav", "any")
    await bench.store.sweep(bench.now)
    assert bench.store.prepared(record).exists()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("me.png", "me.png"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", ".."),
        ("a\r\nb\x1b[31m\0.wav", "ab[31m.wav"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\udcff.wav", ".wav"),
        ("  ", "upload"),
        ("", "upload"),
        ("a/", "upload"),
        ("声音.wav", "声音.wav"),
        ("x" * 300, "x" * 255),
    ],
)
async def test_names_are_for_display_only(given: str, shown: str) -> None:
    """A file's name loses path, control and invisible characters, and is never empty."""
    assert display_name(given) == shown
