"""Directories without a row: what nobody was promised goes, what somebody was promised stays."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from echod.host import strays

ID = "video_" + "0" * 32


def lost(path: Path) -> Path:
    """A directory whose row was committed once."""
    strays.make(path)
    (path / "clip.mp4").write_bytes(b"a clip")
    strays.accepted(path)
    return path


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_was_never_accepted_goes(tmp_path: Path) -> None:
    """A directory that a death left before its row was committed is removed, and so is one that is empty."""
    half = tmp_path / ID
    strays.make(half)
    (half / "portrait.png").touch()
    (tmp_path / ("file_" + "1" * 32)).mkdir()
    strays.clear(strays.directories(tmp_path))
    assert names(tmp_path) == set()


def test_what_had_a_row_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It stays, beside what was set aside before, whatever it is; one line of the log says how much and where."""
    first, file, link = lost(tmp_path / ID), tmp_path / ("video_" + "1" * 32), tmp_path / ("video_" + "2" * 32)
    strays.clear([first])
    lost(first)
    file.touch()
    link.symlink_to(tmp_path.parent)
    with caplog.at_level(logging.WARNING):
        strays.clear(strays.directories(tmp_path))
    assert names(tmp_path) == {"aside"}
    assert names(tmp_path / "aside") == {ID, f"{ID}.2", file.name, link.name}
    assert (tmp_path / "aside" / f"{ID}.2" / "clip.mp4").read_bytes() == b"a clip"
    assert len(caplog.records) == 2
    assert "3 directories, such as video_" in caplog.records[1].message
    assert str(tmp_path / "aside") in caplog.records[1].message


def test_the_mark_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A death while it is discarded leaves it marked, for the next start to discard."""
    directory = tmp_path / ID
    strays.make(directory)
    for name in ("a", "portrait.png", "z"):
        (directory / name).touch()
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    strays.discard(directory)
    assert names(directory) == {strays.MARK}
    assert not strays.is_forgotten(directory)


@pytest.mark.parametrize("name", ["lost+found", "aside", ".snapshot", "video_1", "VIDEO_" + "0" * 32, ID + "0"])
def test_other_peoples_names(tmp_path: Path, name: str) -> None:
    """What cannot be ours is left alone."""
    (tmp_path / name).mkdir()
    assert strays.directories(tmp_path) == []
