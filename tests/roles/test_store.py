"""Roles on disk: added, changed, broken and removed while somebody looks."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echod.config import Config, Settings
from echod.daemon import portrait_of
from echod.errors import EchodError
from echod.inspection.messages import Inspected
from echod.jobs.job import ClipOptions
from echod.roles import folder as rolefolder
from echod.roles import store as roles_module
from echod.roles.store import Roles
from tests.making.media import EXAMPLES
from tests.stand_ins.hands import Inspector

PICTURE, ANOTHER = b"a picture of a face", b"a picture of another face"


class CountingInspector(Inspector):
    inspections = 0

    async def inspect(self, path: Path, into: Path, want: str, **_: object) -> Inspected:
        self.inspections += 1
        return await super().inspect(path, into, want)


class Bench:
    """A store of roles over a state directory, and how often it has told of a change."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.changes = 0
        self.inspector = CountingInspector()
        self.start()

    def start(self) -> None:
        """As when the daemon starts."""
        self.roles = Roles(Settings(self.config), self.inspector, self._changed)  # type: ignore[arg-type]

    def _changed(self) -> None:
        self.changes += 1

    def put(self, name: str = "ada", text: str = "", picture: bytes | None = PICTURE) -> Path:
        folder = self.roles.root / name
        folder.mkdir(exist_ok=True)
        (folder / "role.toml").write_text(f'portrait = "portrait.jpg"\n{text}')
        if picture:
            (folder / "portrait.jpg").write_bytes(picture)
        return folder

    async def names(self) -> list[str]:
        await self.roles.look()
        return [role.name for role in self.roles.loaded]

    async def problem(self, name: str = "ada") -> str:
        assert name not in await self.names()
        with pytest.raises(EchodError) as refusal:
            await self.roles.find(name)
        assert refusal.value.code == "not_found"
        return self.roles.broken[name]

    def cached(self) -> list[str]:
        return sorted(path.name for path in self.roles.cache.iterdir())


@pytest.fixture
def bench(config: Config) -> Bench:
    return Bench(config)


async def test_added(bench: Bench) -> None:
    """A folder that appears is a role, its portrait inspected and ready for workers."""
    assert await bench.names() == []
    bench.put(text='title = "Ada"\nengine = "preview"\n[options]\nsize = "256x384"')
    role = await bench.roles.find("ada")
    assert (role.title, role.portrait.faces, role.picture.read_bytes()) == ("Ada", 2, PICTURE)
    order = portrait_of(role, "preview", 1280)
    assert (order.options, order.portrait_sha256) == (
        ClipOptions(width=256, height=384, view="face", max_picture=1280),
        role.portrait.sha256,
    )
    assert order.box == role.portrait.box
    assert bench.changes == 1


async def test_unchanged(bench: Bench) -> None:
    """What has not changed is not read again; a picture is inspected once, however often the daemon starts."""
    bench.put()
    for _ in range(3):
        assert await bench.names() == ["ada"]
    bench.start()
    assert await bench.names() == ["ada"]
    assert (bench.inspector.inspections, bench.changes) == (1, 2)


async def test_changed(bench: Bench) -> None:
    """A change of either file is seen at the next look; a new picture is inspected, the old one's copy goes."""
    bench.put()
    before = await bench.roles.find("ada")
    bench.put(text='title = "Ada the Second"')
    assert (await bench.roles.find("ada")).title == "Ada the Second"
    assert bench.inspector.inspections == 1
    bench.put(picture=ANOTHER)
    after = await bench.roles.find("ada")
    assert after.picture.read_bytes() == ANOTHER
    assert (bench.inspector.inspections, bench.changes) == (2, 3)
    assert not before.picture.exists()
    assert bench.cached() == [after.portrait.sha256]


async def test_same_size_same_time(bench: Bench) -> None:
    """A change that keeps size and modification time is seen all the same."""
    folder = bench.put(text='title = "Ada"')
    status = (folder / "role.toml").stat()
    await bench.roles.find("ada")
    bench.put(text='title = "Eve"')
    os.utime(folder / "role.toml", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (await bench.roles.find("ada")).title == "Eve"


async def test_broken(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A broken role is told of once, with file and line, and skipped; the others go on; repaired, it is back."""
    bench.put("bert")
    bench.put("ada", 'titel = "Ada"')
    for _ in range(3):
        assert await bench.names() == ["bert"]
    assert await bench.problem() == f"{bench.roles.root}/ada/role.toml:2: there is no key 'titel'; did you mean title?"
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert "ada/role.toml:2" in told[0].getMessage()
    bench.put("ada", 'title = "Ada"')
    assert await bench.names() == ["ada", "bert"]


async def test_breaking_while_running(bench: Bench) -> None:
    """A role that is broken by a change is no role until it is repaired."""
    bench.put()
    assert await bench.names() == ["ada"]
    bench.put(text="mode = 3")
    assert "role.toml:2: mode = 3" in await bench.problem()
    bench.put()
    assert await bench.names() == ["ada"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[options]\nseed = " + "9" * 5000, "4300 digits"),
        ("[options]\nseed = 0x" + "f" * 5000, "4300"),
        ("[options]\nsize = 0x" + "f" * 5000, "4300"),
        ("greeting = " + "[" * 5000, "too deep"),
        ("greeting = " + "{a = " * 5000, "too deep"),
        (".".join(["a"] * 5000) + " = 1", "no key 'a'"),
    ],
    ids=["digits", "hexadecimal", "size", "lists", "tables", "dots"],
)
async def test_numbers_and_depths(bench: Bench, text: str, word: str) -> None:
    """What Python itself refuses to read is the folder's own fault, told with its file; the others go on."""
    bench.put("ada", text)
    bench.put("bob")
    assert await bench.names() == ["bob"]
    assert word in bench.roles.broken["ada"]
    assert str(bench.roles.root / "ada" / "role.toml") in bench.roles.broken["ada"]


@pytest.mark.parametrize("failure", [KeyError("what"), RecursionError("deep"), MemoryError(), AssertionError("no")])
async def test_whatever_a_role_raises(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    """It is broken, the log has the traceback once, and the others go on."""
    read = rolefolder.look_at_portrait

    def fail(folder: Path, limit: int) -> Any:
        if folder.name == "ada":
            raise failure
        return read(folder, limit)

    monkeypatch.setattr(rolefolder, "look_at_portrait", fail)
    bench.put("ada")
    bench.put("bob")
    assert await bench.names() == await bench.names() == ["bob"]
    assert type(failure).__name__ in bench.roles.broken["ada"]
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


async def test_folder_that_the_disk_does_not_tell(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One folder whose facts cannot be read hides no other."""
    stamp = rolefolder._stamp

    def fail(folder: Path) -> Any:
        if folder.name == "ada":
            raise OSError(errno.EIO, "Input/output error")
        return stamp(folder)

    monkeypatch.setattr(rolefolder, "_stamp", fail)
    (bench.put("ada") / "role.toml").unlink()
    bench.put("bob")
    assert await bench.names() == ["bob"]
    assert "role.toml" in bench.roles.broken["ada"]


async def test_roles_that_the_disk_does_not_tell(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """While the directory is none the roles that were read are used, the log says so once, and then it is as ever."""
    bench.put("ada")
    assert await bench.names() == ["ada"]
    aside = bench.roles.root.rename(bench.roles.root.with_name("aside"))
    bench.roles.root.touch()
    assert await bench.names() == await bench.names() == ["ada"]
    assert (await bench.roles.find("ada")).picture.exists()
    assert len([record for record in caplog.records if "could not be read" in record.message]) == 1
    bench.roles.root.unlink()
    aside.rename(bench.roles.root)
    bench.put("bob")
    assert await bench.names() == ["ada", "bob"]


@pytest.mark.parametrize("missing", ["role.toml", "portrait.jpg"])
async def test_missing_files(bench: Bench, missing: str) -> None:
    """A folder without one of its files says which."""
    folder = bench.put()
    (folder / missing).unlink()
    problem = await bench.problem()
    assert str(folder / "role.toml") in problem
    assert (":1: portrait = 'portrait.jpg'" in problem) == (missing == "portrait.jpg")


async def test_unreadable_picture(bench: Bench) -> None:
    """A portrait that inspection refuses breaks the role, and is named; SIGHUP has it tried again."""
    folder = bench.put(picture=b"? no picture")
    assert str(folder / "portrait.jpg") in await bench.problem()
    assert bench.inspector.inspections == 1
    await bench.roles.look(again=True)
    assert bench.inspector.inspections == 2
    assert bench.cached() == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (EchodError("disk_full", "the disk is full"), "disk_full"),
        (OSError(errno.ENOSPC, "no space"), "disk_full"),
        (OSError(errno.EMFILE, "too many open files"), "internal"),
    ],
)
async def test_no_room_for_now(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception, code: str
) -> None:
    """What the machine has no room for is no fault of the role's: it says so, once, and loads as soon as there is."""
    bench.put()

    async def fail(*_: object, **__: object) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(bench.inspector, "inspect", fail)
        for _ in range(2):
            with pytest.raises(EchodError, match="cannot be read at present") as refusal:
                await bench.roles.find("ada")
            assert refusal.value.code == code
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert (await bench.roles.find("ada")).picture.read_bytes() == PICTURE


async def test_no_descriptors_for_now(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the folder cannot be opened."""
    folder = bench.put()
    really = os.open

    def fail(path: object, *arguments: Any, **options: Any) -> int:
        if path == folder:
            raise OSError(errno.EMFILE, "too many open files")
        return really(path, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(EchodError) as refusal:
            await bench.roles.find("ada")
        assert refusal.value.code == "internal"
    assert await bench.names() == ["ada"]


async def test_too_large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither file may be larger than its limit."""
    folder = bench.put(text="#" * 70_000)
    assert f"{folder}/role.toml: the file has more than 65536 bytes" in await bench.problem()
    bench.put(picture=b"a" * (bench.config.max_upload + 1))
    assert "max_upload" in await bench.problem()


async def test_removed(bench: Bench) -> None:
    """A folder that goes takes its role along, and what was kept for it."""
    folder = bench.put()
    assert await bench.names() == ["ada"]
    shutil.rmtree(folder)
    assert await bench.names() == []
    assert (bench.cached(), bench.changes) == ([], 2)
    with pytest.raises(EchodError, match="there is no role 'ada'"):
        await bench.roles.find("ada")


async def test_directories_removed(bench: Bench) -> None:
    """Without its directories there are no roles; they come back with the next one, and so does an emptied cache."""
    bench.put()
    assert await bench.names() == ["ada"]
    shutil.rmtree(bench.roles.cache)
    assert (await bench.roles.find("ada")).picture.read_bytes() == PICTURE
    shutil.rmtree(bench.roles.root)
    assert await bench.names() == []
    bench.put()
    assert await bench.names() == ["ada"]


async def test_not_roles(bench: Bench) -> None:
    """Plain files and what begins with a dot are nobody's role."""
    (bench.roles.root / "README.md").touch()
    bench.put(".hidden")
    assert await bench.names() == []
    assert bench.roles.broken == {}


@pytest.mark.parametrize("name", ["Ada", "a b", "\x1b[2J", "ä", os.fsdecode(b"\xff")])
async def test_bad_folder_names(bench: Bench, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A folder whose name cannot be a role's is broken, and shown in plain letters."""
    bench.put(name)
    assert await bench.names() == []
    ((shown, problem),) = bench.roles.broken.items()
    assert "is no name for a role" in problem
    assert (shown + problem + caplog.text).replace("\n", "").isprintable()
    assert (shown + problem).isascii()


# Ways out of the folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A picture that is nobody's role."""
    path = tmp_path / "secret"
    path.write_bytes(PICTURE)
    return path


async def test_linked_folder(bench: Bench, tmp_path: Path) -> None:
    """A link to a folder is no role, though what it points to would be one."""
    bench.put("real").rename(tmp_path / "elsewhere")
    (bench.roles.root / "ada").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in await bench.problem()
    (bench.roles.root / "ada").unlink()
    (bench.roles.root / "ada").symlink_to("gone")
    assert "is a symbolic link" in await bench.problem()


@pytest.mark.parametrize("name", ["role.toml", "portrait.jpg"])
async def test_linked_files(bench: Bench, name: str, tmp_path: Path) -> None:
    """A link in place of a file is refused, wherever it points, and nothing of its target is told or kept."""
    folder = bench.put()
    (folder / name).rename(tmp_path / "elsewhere")
    with (tmp_path / "elsewhere").open("a") as file:
        file.write('\nsecret = "xyzzy"')
    for target in (tmp_path / "elsewhere", "/etc/passwd", name):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        problem = await bench.problem()
        assert "is a symbolic link" in problem
        assert "xyzzy" not in problem
    assert (bench.inspector.inspections, bench.cached()) == (0, [])


@pytest.mark.parametrize(
    "way", ["../secret", "{secret}", "./portrait.jpg", "..", ".", "x/../../../secret", "..\\secret"]
)
async def test_paths_out(bench: Bench, secret: Path, way: str) -> None:
    """A role.toml that names a file outside its folder, or any path at all, is refused, and nothing is opened."""
    folder = bench.put()
    (folder / "role.toml").write_text(f"portrait = '{way.format(secret=secret)}'")
    problem = await bench.problem()
    assert f"{folder}/role.toml:1: portrait = " in problem
    assert "no path" in problem
    assert bench.inspector.inspections == 0


async def test_no_regular_files(bench: Bench) -> None:
    """A pipe, which would never end, and a folder are no portraits."""
    folder = bench.put(picture=None)
    os.mkfifo(folder / "portrait.jpg")
    assert "no regular file" in await bench.problem()
    (folder / "portrait.jpg").unlink()
    (folder / "portrait.jpg").mkdir()
    assert "no regular file" in await bench.problem()


# Written by the daemon


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(PICTURE)
    return path


async def test_write(bench: Bench, picture: Path) -> None:
    """A role that is made is on disk as people would write it, and inspected once."""
    fields = {"title": "Ada", "options": {"fps": "25"}, "personality": "one\ntwo"}
    role = await bench.roles.write("ada", fields, picture, "me.JPG", replace=False)
    assert (role.title, role.file.options, role.file.portrait) == ("Ada", {"fps": 25}, "portrait.jpg")
    folder = bench.roles.root / "ada"
    assert sorted(path.name for path in folder.iterdir()) == ["portrait.jpg", "role.toml"]
    assert 'personality = """\none\ntwo"""\n' in (folder / "role.toml").read_text()
    assert bench.inspector.inspections == 1
    assert sorted(path.name for path in bench.roles.root.iterdir()) == ["ada"]


@pytest.mark.parametrize("place", ["inspect", "write", "look_at_portrait"])
async def test_no_room_to_write(bench: Bench, picture: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Wherever the room ends, the role is refused with disk_full and nothing is kept."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(bench.inspector if place == "inspect" else rolefolder, place, fail)
        with pytest.raises(EchodError) as refusal:
            await bench.roles.write("ada", {}, picture, "a.png", replace=False)
    assert refusal.value.code == "disk_full"
    assert (list(bench.roles.root.iterdir()), bench.cached()) == ([], [])
    await bench.roles.write("ada", {}, picture, "a.png", replace=False)


@pytest.mark.parametrize("filename", ["../../x.sh", "/etc/passwd", "a/b.png\0.sh", "role.toml", "", "x" * 5000])
async def test_filenames_of_clients(bench: Bench, picture: Path, filename: str) -> None:
    """What a client calls its picture decides nothing but the kind."""
    role = await bench.roles.write("ada", {}, picture, filename, replace=False)
    assert role.file.portrait == "portrait.png"
    assert sorted(path.name for path in role.picture.parent.iterdir()) == ["portrait.json", "portrait.png"]


async def test_write_over(bench: Bench, picture: Path) -> None:
    """A role is replaced only where that is meant; without a picture it keeps its own."""
    await bench.roles.write("ada", {"title": "Ada", "greeting": "Hi"}, picture, "a.png", replace=False)
    with pytest.raises(EchodError, match="there is a role 'ada' already"):
        await bench.roles.write("ada", {}, picture, "a.png", replace=False)
    role = await bench.roles.write("ada", {"title": "Eve"}, None, "", replace=True)
    assert (role.title, role.file.greeting, role.picture.read_bytes()) == ("Eve", "", PICTURE)
    picture.write_bytes(ANOTHER)
    role = await bench.roles.write("ada", {"title": "Eve"}, picture, "a.webp", replace=True)
    assert role.picture.read_bytes() == ANOTHER
    assert sorted(path.name for path in (bench.roles.root / "ada").iterdir()) == ["portrait.webp", "role.toml"]


async def test_refused_writes(bench: Bench, picture: Path) -> None:
    """What is refused leaves nothing behind."""
    for name, fields, path, code in (
        ("../ada", {}, picture, "invalid_request"),
        ("ada", {"titel": "x"}, picture, "invalid_request"),
        ("ada", {"options": {"size": "1x1"}}, picture, "unsupported_size"),
        ("ada", {}, None, "invalid_request"),
    ):
        with pytest.raises(EchodError) as refusal:
            await bench.roles.write(name, fields, path, "a.png", replace=True)
        assert refusal.value.code == code
    picture.write_bytes(b"? no picture")
    with pytest.raises(EchodError) as refusal:
        await bench.roles.write("ada", {}, picture, "a.png", replace=False)
    assert refusal.value.code == "portrait_unreadable"
    assert (list(bench.roles.root.iterdir()), bench.cached()) == ([], [])


async def test_writing_through_links(bench: Bench, picture: Path, tmp_path: Path) -> None:
    """Neither a linked folder nor a linked file is written through."""
    target = tmp_path / "target"
    target.mkdir()
    (bench.roles.root / "ada").symlink_to(target)
    with pytest.raises(EchodError, match="symbolic link"):
        await bench.roles.write("ada", {}, picture, "a.png", replace=True)
    folder = bench.put("bert", picture=None)
    (folder / "role.toml").unlink()
    for name in ("role.toml", "portrait.png"):
        (target / name).write_text("keep")
        (folder / name).symlink_to(target / name)
    await bench.roles.write("bert", {}, picture, "a.png", replace=True)
    assert {path.read_text() for path in target.iterdir()} == {"keep"}
    assert not any(path.is_symlink() for path in folder.iterdir())


async def test_remove(bench: Bench, tmp_path: Path) -> None:
    """A role is removed with its folder; of a link, the link alone."""
    bench.put("bert").rename(tmp_path / "elsewhere")
    (bench.roles.root / "bert").symlink_to(tmp_path / "elsewhere")
    bench.put("ada")
    for name in ("ada", "bert"):
        await bench.roles.remove(name)
    assert list(bench.roles.root.iterdir()) == []
    assert (tmp_path / "elsewhere" / "role.toml").exists()
    for name in ("ada", "..", "", "../roles", str(tmp_path)):
        with pytest.raises(EchodError, match="there is no role"):
            await bench.roles.remove(name)
    assert (tmp_path / "elsewhere").exists()


async def test_start_after_a_death(bench: Bench) -> None:
    """What was half written or half removed when the daemon died is gone after the next start."""
    bench.put("0123456789abcdef").rename(bench.roles.root / ".0123456789abcdef")
    bench.put()
    assert await bench.names() == ["ada"]
    (bench.roles.cache / bench.cached()[0] / "portrait.json").write_bytes(b"")
    bench.start()
    assert await bench.names() == ["ada"]
    assert [path.name for path in bench.roles.root.iterdir()] == ["ada"]
    assert bench.inspector.inspections == 2


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(roles_module, "LOOK_INTERVAL", 0.01)
    yield


@pytest.mark.usefixtures("quick")
async def test_watch(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Changes are noticed though nobody asks, and though looks have failed in between."""
    changed = asyncio.Event()
    bench.roles.on_change = changed.set
    watching = asyncio.create_task(bench.roles.watch())
    async with asyncio.timeout(20):
        bench.put("ada")
        await changed.wait()
        changed.clear()
        bench.roles.root.rename(bench.config.state_dir / "away")
        bench.roles.root.touch()
        while "could not be read" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        bench.roles.root.unlink()
        (bench.config.state_dir / "away").rename(bench.roles.root)
        bench.put("bert")
        await changed.wait()
    watching.cancel()
    assert [role.name for role in bench.roles.loaded] == ["ada", "bert"]


@pytest.mark.parametrize("name", ["ada", "xiaolin"])
async def test_examples(bench: Bench, name: str) -> None:
    """The example roles are sound, and say something in every key that people see."""
    shutil.copytree(EXAMPLES / "roles" / name, bench.roles.root / name)
    (bench.roles.root / name / "portrait.jpg").write_bytes(PICTURE)  # the inspector of this test decodes nothing
    role = await bench.roles.find(name)
    assert role.file.title and role.file.greeting and role.file.personality
    assert role.file.language == {"ada": "en", "xiaolin": "zh-CN"}[name]
