from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from echod.config import Settings
from echod.errors import EchodError
from echod.uploads.quota import Quota
from tests.making.config import make_config


@pytest.fixture
def quota(tmp_path: Path) -> Quota:
    return Quota(Settings(make_config(tmp_path, disk_per_account=1000, min_free=500)))


def directory(parent: Path, name: str, **sizes: int) -> Path:
    (parent / name).mkdir()
    for file, size in sizes.items():
        (parent / name / file).write_bytes(bytes(size))
    return parent / name


def test_what_an_account_has(quota: Quota, tmp_path: Path) -> None:
    """Directories count as they were when last looked at, each for its account; what is gone counts no more."""
    hers, his = directory(tmp_path, "hers", upload=100, speech=50), directory(tmp_path, "his", upload=7)
    quota.count("ann", hers)
    quota.count("bob", his)
    assert (quota.used("ann"), quota.used("bob"), quota.used("eve")) == (150, 7, 0)
    (hers / "speech").write_bytes(bytes(60))
    (hers / "more").write_bytes(bytes(1))
    quota.count("ann", hers)
    assert quota.used("ann") == 161
    for _ in range(2):
        quota.forget(hers)
    shutil.rmtree(his)
    quota.count("bob", his)
    assert (quota.used("ann"), quota.used("bob")) == (0, 0)


def test_links_count_once(quota: Quota, tmp_path: Path) -> None:
    """What an upload and jobs made with it share counts once, for as long as one of them is there."""
    upload, job = directory(tmp_path, "upload", portrait=100), directory(tmp_path, "job", clip=10)
    (job / "portrait").hardlink_to(upload / "portrait")
    quota.count("ann", upload)
    quota.count("ann", job)
    assert quota.used("ann") == 110
    quota.forget(upload)
    assert quota.used("ann") == 110
    quota.forget(job)
    assert quota.used("ann") == 0


def test_the_sum_is_always_that_of_the_files(quota: Quota, tmp_path: Path) -> None:
    """Whatever comes, is linked, is looked at again and goes, in any order."""
    dice, there = random.Random(7), list[Path]()
    for step in range(500):
        match dice.randrange(3):
            case 0:
                there.append(directory(tmp_path, f"d{step}", a=dice.randrange(100), b=dice.randrange(100)))
                if len(there) > 1:
                    os.link(dice.choice(there[:-1]) / "a", there[-1] / "c")
                quota.count("ann", there[-1])
            case 1 if there:
                gone = there.pop(dice.randrange(len(there)))
                quota.forget(gone)
                shutil.rmtree(gone)
            case 2 if there:
                quota.count("ann", dice.choice(there))
        files = {path.stat().st_ino: path.stat().st_size for path in tmp_path.glob("d*/*")}
        assert quota.used("ann") == sum(files.values())


def test_the_limit_is_exact(quota: Quota, tmp_path: Path) -> None:
    """As much as the limit may be taken; a byte more is refused with value, limit and setting."""
    full = directory(tmp_path, "full", upload=999)
    quota.count("ann", full)
    quota.check("ann")
    quota.check("ann", 1)
    assert quota.allowance("ann") == (1, 250)
    with pytest.raises(EchodError, match=r"take 0\.0 MiB, and 0\.0 MiB more are sent; disk_per_account is") as caught:
        quota.check("ann", 2)
    assert caught.value.code == "quota_exceeded"
    (full / "upload").write_bytes(bytes(1000))
    quota.count("ann", full)
    with pytest.raises(EchodError):
        quota.check("ann")
    assert quota.allowance("ann") == (0, 250)
    quota.check("bob", 1000)
