from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from echod.errors import ConfigurationError
from echod.provenance import certificate
from echod.provenance.certificate import AUTHORITY, CHAIN, KEY, OWN, algorithm, check, own, paths, prepare
from tests.making.config import make_config


def test_the_boxs_own(tmp_path: Path) -> None:
    """Made once: a certificate of an authority whose key is nowhere, and a key that only its owner reads."""
    identity = own(tmp_path / OWN)
    leaf, authority = x509.load_pem_x509_certificates(identity.certificate.read_bytes())
    leaf.verify_directly_issued_by(authority)
    assert authority.public_bytes(serialization.Encoding.PEM) == (tmp_path / OWN / AUTHORITY).read_bytes()
    assert sorted(path.name for path in (tmp_path / OWN).iterdir()) == sorted((AUTHORITY, CHAIN, KEY))
    assert identity.key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / OWN).stat().st_mode & 0o777 == 0o700
    before = identity.key.read_bytes()
    assert own(tmp_path / OWN).key.read_bytes() == before
    assert authority.public_key() != leaf.public_key()


def test_a_start_that_was_cut_short(tmp_path: Path) -> None:
    """What it left is made anew."""
    part = tmp_path / f"{OWN}.part"
    part.mkdir()
    (part / KEY).write_text("half")
    check(own(tmp_path / OWN), "it")
    assert not part.exists()


def damaged(name: str, data: bytes | None = None) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        (directory / name).unlink()
        if data is not None:
            (directory / name).write_bytes(data)
            (directory / name).chmod(0o600)

    return damage


def others(directory: Path) -> None:
    """The key of another box."""
    (directory / KEY).write_bytes(own(directory.parent / "other").key.read_bytes())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damaged(KEY), "cannot be read"),
        (damaged(CHAIN), "cannot be read"),
        (damaged(KEY, b"no key"), "move .* away"),
        (damaged(CHAIN, b"no certificate"), "move .* away"),
        (lambda directory: (directory / KEY).chmod(0o640), "chmod 600"),
        (others, "is not the key of"),
    ],
)
def test_what_cannot_sign(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    """A start that could sign nothing ends in words, with what to do."""
    own(tmp_path / OWN)
    damage(tmp_path / OWN)
    with pytest.raises(ConfigurationError, match=words):
        own(tmp_path / OWN)


def test_an_expired_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It signs no longer, and that is said at the start."""
    monkeypatch.setattr(certificate, "LIFETIME", datetime.timedelta(days=-1, hours=1))
    with pytest.raises(ConfigurationError, match="is good until"):
        own(tmp_path / OWN)


def test_settings(tmp_path: Path) -> None:
    """The box's own where none is named, nothing where c2pa is off; a certificate and its key belong together."""
    config = make_config(tmp_path)
    config.state_dir.mkdir()
    prepare(config)
    assert paths(config) == tuple(str(config.state_dir / OWN / name) for name in (CHAIN, KEY))
    assert paths(make_config(tmp_path, c2pa=False)) is None
    theirs = own(tmp_path / "theirs")
    named = make_config(tmp_path, c2pa_certificate=theirs.certificate, c2pa_key=theirs.key)
    prepare(named)
    assert paths(named) == (str(theirs.certificate), str(theirs.key))
    with pytest.raises(ConfigurationError, match="belong together"):
        prepare(make_config(tmp_path, c2pa_certificate=theirs.certificate))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        prepare(make_config(tmp_path, c2pa_certificate=theirs.certificate, c2pa_key=tmp_path / "nowhere"))


def test_kinds_of_keys() -> None:
    """Each kind of key signs in the way that C2PA names for it; others are refused."""
    assert algorithm(ec.generate_private_key(ec.SECP384R1())) == "es384"
    assert algorithm(ed25519.Ed25519PrivateKey.generate()) == "ed25519"
    assert algorithm(rsa.generate_private_key(65537, 2048)) == "ps256"
    with pytest.raises(ValueError, match="secp256k1"):
        algorithm(ec.generate_private_key(ec.SECP256K1()))
