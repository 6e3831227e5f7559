"""Signed addresses and the key behind them."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.accounts.signing import Signer, load_key
from echod.errors import ConfigurationError
from tests.stand_ins.clock import Clock

DAY = 86400.0


def parts(address: str) -> tuple[str, str]:
    query = parse_qs(urlsplit(address).query)
    return query["expires"][0], query["signature"][0]


def test_good_until_it_expires() -> None:
    """An address is good for its lifetime, less a 24th at most, and not a second longer."""
    clock = Clock()
    signer = Signer(b"k" * 32, clock)
    expires, signature = parts(signer.sign("/a", DAY))
    assert DAY * 23 / 24 <= float(expires) - clock.now <= DAY
    clock.now = float(expires) - 1
    assert signer.opens("/a", expires, signature)
    clock.now = float(expires)
    assert not signer.opens("/a", expires, signature)


def test_the_same_for_a_while() -> None:
    """A resource keeps its address within an hour, so that caches find it again."""
    clock = Clock(3600 * 1000.0)
    signer = Signer(b"k" * 32, clock)
    first = signer.sign("/a", DAY)
    clock.now += 3599
    assert signer.sign("/a", DAY) == first
    clock.now += 1
    assert signer.sign("/a", DAY) != first


def test_another_key() -> None:
    """What one key signs another does not open."""
    expires, signature = parts(Signer(b"k" * 32).sign("/a", DAY))
    assert Signer(b"k" * 32).opens("/a", expires, signature)
    assert not Signer(b"l" * 32).opens("/a", expires, signature)


def test_a_resource_with_a_query() -> None:
    """The query of a resource is signed with it."""
    signer = Signer(b"k" * 32)
    address = signer.sign("/a?variant=thumbnail", DAY)
    assert address.startswith("/a?variant=thumbnail&expires=")
    assert signer.opens("/a?variant=thumbnail", *parts(address))
    assert not signer.opens("/a", *parts(address))


@given(st.text(), st.text(), st.text())
def test_nonsense_opens_nothing(resource: str, expires: str, signature: str) -> None:
    """Whatever is sent is refused, and raises nothing."""
    assert not Signer(os.urandom(32)).opens(resource.encode(errors="replace").decode(), expires, signature)


def test_key_is_made_once(tmp_path: Path) -> None:
    """The first start makes a private key, the next ones read it; what a start that died left is no key."""
    path = tmp_path / "signing.key"
    (tmp_path / "signing.key.part").write_bytes(b"half")
    key = load_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path) == key
    assert [entry.name for entry in tmp_path.iterdir()] == ["signing.key"]


def test_key_that_others_can_read(tmp_path: Path) -> None:
    """A key that is no secret any more is not used."""
    path = tmp_path / "signing.key"
    load_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_key(path)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_damaged_key(tmp_path: Path, size: int) -> None:
    """A key of another length is refused and left as it is."""
    path = tmp_path / "signing.key"
    path.write_bytes(b"x" * size)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="damaged"):
        load_key(path)
    assert path.stat().st_size == size


def test_key_that_is_a_directory(tmp_path: Path) -> None:
    """What is no file is refused by name."""
    (tmp_path / "signing.key").mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match=r"signing\.key must be a file"):
        load_key(tmp_path / "signing.key")


def test_key_that_is_a_link(tmp_path: Path) -> None:
    """A symbolic link in the key's place is not followed."""
    load_key(tmp_path / "other")
    (tmp_path / "signing.key").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_key(tmp_path / "signing.key")
