"""Directories of the daemon are for its user alone, whatever was there before and whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.errors import ConfigurationError
from echod.host.directories import create_directory, create_private, lock, owned

CREATORS = pytest.mark.parametrize("create", [create_directory, create_private])


@pytest.fixture(params=[0, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@CREATORS
@pytest.mark.usefixtures("umask")
def test_made_for_the_owner_alone(tmp_path: Path, create: type) -> None:
    """Whatever the umask, and its parents too."""
    create(tmp_path / "a/b/c")
    assert [mode(tmp_path / path) for path in ("a", "a/b", "a/b/c")] == [0o700] * 3


@pytest.mark.parametrize("before", [0o777, 0o755, 0o770, 0o1777, 0o500, 0o2770])
def test_private_whatever_it_was(tmp_path: Path, before: int) -> None:
    """What lies inside a state or runtime directory is tightened."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(before)
    create_private(tmp_path / "cache")
    assert mode(tmp_path / "cache") == 0o700


@pytest.mark.parametrize(
    ("before", "refused"), [(0o777, True), (0o1777, True), (0o702, True), (0o750, False), (0o770, False)]
)
def test_named_by_people(tmp_path: Path, before: int, refused: bool) -> None:
    """One that the settings name keeps its mode, as it may be others' too; where everybody may write it is refused."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(before)
    if refused:
        with pytest.raises(ConfigurationError, match=f"chmod o-w {tmp_path}/state"):
            create_directory(tmp_path / "state")
    else:
        create_directory(tmp_path / "state")
    assert mode(tmp_path / "state") == before


@CREATORS
@pytest.mark.parametrize(("name", "why"), [("file", "no directory"), ("file/state", "cannot make"), ("to", "cannot")])
def test_something_else_is_there(tmp_path: Path, create: type, name: str, why: str) -> None:
    """A file, a file on the way, and a link to nothing are refused by name."""
    (tmp_path / "file").touch()
    (tmp_path / "to").symlink_to("nothing")
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/{name}.*{why}|{why}.*{tmp_path}/{name}"):
        create(tmp_path / name)


@CREATORS
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_planted(tmp_path: Path, create: type) -> None:
    """What another user has put there is refused: a directory, or a link to one of ours or of theirs."""
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir(0o700)
    os.chown(tmp_path / "theirs", 12345, 12345)
    for name, to in (("a link to ours", "ours"), ("a link to theirs", "theirs")):
        (tmp_path / name).symlink_to(to)
    os.chown(tmp_path / "a link to ours", 12345, 12345, follow_symlinks=False)
    for name in ("theirs", "a link to ours", "a link to theirs"):
        with pytest.raises(ConfigurationError, match="somebody else"):
            create(tmp_path / name)


def test_two_on_one_directory(tmp_path: Path) -> None:
    """Whatever is removed from it, a state directory has one daemon at a time."""
    with owned(tmp_path / "state"):
        (tmp_path / "state" / "lock").touch()
        (tmp_path / "state" / "lock").unlink()
        (tmp_path / "again").symlink_to("state")
        for name in ("state", "again"):
            with (
                pytest.raises(ConfigurationError, match="another daemon uses the state directory"),
                owned(tmp_path / name),
            ):
                pass
    with owned(tmp_path / "state"):
        pass


def test_no_lock_to_be_had(tmp_path: Path) -> None:
    """A file system that cannot lock is refused in words."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(ConfigurationError, match="the state directory cannot be locked: Bad file descriptor"):
        lock(writing, "the state directory")
