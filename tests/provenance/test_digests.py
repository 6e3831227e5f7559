from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from echod.provenance.digests import digests


def test_files_are_read_once(tmp_path: Path) -> None:
    """A file is read again only when it has changed, and whatever the record holds the digests are the files'."""
    files = {name: tmp_path / name for name in ("a.pth", "b.pth")}
    for name, path in files.items():
        path.write_text(name)
    expected = {name: hashlib.sha256(name.encode()).hexdigest() for name in files}
    record, read = tmp_path / "cache" / "weights.json", list[str]()
    assert digests(files, record, read.append) == expected
    assert digests(files, record, read.append) == expected
    assert read == ["a.pth", "b.pth"]
    assert record.stat().st_mode & 0o077 == 0
    before = files["b.pth"].stat()
    files["b.pth"].write_text("B.pth")  # as long, in the same inode
    os.utime(files["b.pth"], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert digests(files, record, read.append)["b.pth"] == hashlib.sha256(b"B.pth").hexdigest()
    assert read == ["a.pth", "b.pth", "b.pth"]


def test_reading_shows_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a sign of life with every piece of a file: one alone may take longer than silence is borne."""
    monkeypatch.setattr("echod.inference.download.PIECE", 4)
    (tmp_path / "a.pth").write_bytes(b"0123456789")
    read = list[str]()
    found = digests({"a.pth": tmp_path / "a.pth"}, tmp_path / "record.json", read.append)
    assert read == ["a.pth"] * 3
    assert found == {"a.pth": hashlib.sha256(b"0123456789").hexdigest()}


def test_a_record_that_is_of_no_use(tmp_path: Path) -> None:
    """A damaged record, and one that cannot be written, cost time and nothing else."""
    file = tmp_path / "a.pth"
    file.write_text("a")
    expected = {"a": hashlib.sha256(b"a").hexdigest()}
    for damaged in ("", "[1]", '{"x": 1}', "nonsense"):
        record = tmp_path / "record.json"
        record.write_text(damaged)
        assert digests({"a": file}, record) == expected
    assert digests({"a": file}, file / "below a file.json") == expected
