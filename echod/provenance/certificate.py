"""Who signs a box's clips: a key and certificate that it makes for itself, or those that the settings name.

The own ones are made once. A small authority signs the certificate, since validators refuse one that signs itself, and
its key is thrown away: nobody can make a second certificate in its name.
"""

from __future__ import annotations

import datetime
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from echod.config import Config
from echod.errors import ConfigurationError
from echod.host.directories import create_private, sync

OWN = "credentials"  # the directory in that of the state
AUTHORITY, CHAIN, KEY = "authority.pem", "certificate.pem", "key.pem"
LIFETIME = datetime.timedelta(days=3650)
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class Identity(NamedTuple):
    """Two files in PEM: the certificate, followed by those that lead to its authority, and its private key."""

    certificate: Path
    key: Path


def paths(config: Config) -> tuple[str, str] | None:
    """Of the certificate and key that the settings have clips signed with; None: with nothing."""
    if not config.c2pa:
        return None
    directory = config.state_dir / OWN
    return str(config.c2pa_certificate or directory / CHAIN), str(config.c2pa_key or directory / KEY)


def prepare(config: Config) -> None:
    """Have it there and in order, made if need be. ConfigurationError."""
    if not config.c2pa:
        return
    if (config.c2pa_certificate is None) != (config.c2pa_key is None):
        raise ConfigurationError(
            "c2pa_certificate and c2pa_key belong together: set both, or neither", param="c2pa_key"
        )
    if config.c2pa_certificate and config.c2pa_key:
        identity = Identity(config.c2pa_certificate, config.c2pa_key)
        check(identity, "c2pa_certificate and c2pa_key; without both the box signs with its own")
    else:
        own(config.state_dir / OWN)


def own(directory: Path) -> Identity:
    """What the box signs with, made if it is not there yet. ConfigurationError where it cannot be, or is of no use."""
    identity = Identity(directory / CHAIN, directory / KEY)
    if not directory.exists():
        try:
            _make(directory)
        except OSError as error:
            raise ConfigurationError(f"{directory} cannot be made: {error.strerror}") from None
    check(identity, f"what clips are signed with; move {directory} away and another is made")
    return identity


def check(identity: Identity, what: str) -> None:
    """ConfigurationError unless these two can sign at present, and none but their owner can read the key."""
    try:
        status = identity.key.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise ConfigurationError(f"{identity.key} ({what}) must be a file that only its owner may read: chmod 600")
        key, certificate = private_key(identity.key), x509.load_pem_x509_certificate(identity.certificate.read_bytes())
        algorithm(key)
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror} ({what})") from None
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise ConfigurationError(f"{identity.certificate}, {identity.key}: {error} ({what})") from None
    if key.public_key() != certificate.public_key():
        raise ConfigurationError(f"{identity.key} is not the key of {identity.certificate} ({what})")
    if certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise ConfigurationError(f"{identity.certificate} is good until {certificate.not_valid_after_utc} ({what})")


def private_key(path: Path) -> PrivateKey:
    """Raises OSError, ValueError and TypeError, none of which repeats the key."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, PrivateKey):
        raise ValueError("a key of this kind signs no clip: EC, RSA and Ed25519 do")
    return key


def algorithm(key: PrivateKey) -> str:
    """The name that C2PA has for how such a key signs. Raises ValueError."""
    match key:
        case ec.EllipticCurvePrivateKey():
            if key.curve.name not in CURVES:
                raise ValueError(f"no clip is signed on the curve {key.curve.name}: {', '.join(CURVES)}")
            return CURVES[key.curve.name]
        case rsa.RSAPrivateKey():
            return "ps256"
        case _:
            return "ed25519"


def _make(directory: Path) -> None:
    """All three files or none: a start may be cut short."""
    part = directory.with_name(f"{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    create_private(part)
    number = secrets.token_hex(4)  # tells boxes apart, and nothing about them
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(f"echod {number} authority", f"echod {number} authority", root, root, may_sign=True)
    leaf = _certificate(f"echod {number}", f"echod {number} authority", key, root, may_sign=False)
    pem = [certificate.public_bytes(serialization.Encoding.PEM) for certificate in (leaf, authority)]
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, data, mode in ((CHAIN, b"".join(pem), 0o644), (AUTHORITY, pem[1], 0o644), (KEY, secret, 0o600)):
        with os.fdopen(os.open(part / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
        sync(part / name)
    sync(part)
    part.replace(directory)
    sync(directory.parent)


def _certificate(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, signs: ec.EllipticCurvePrivateKey, *, may_sign: bool
) -> x509.Certificate:
    now, public = datetime.datetime.now(datetime.UTC), key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=may_sign, path_length=0 if may_sign else None), critical=True)
        .add_extension(_usage(key_cert_sign=may_sign, crl_sign=may_sign, digital_signature=not may_sign), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signs.public_key()), critical=False)
    )
    if not may_sign:  # C2PA asks for one of a few purposes
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signs, hashes.SHA256())


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "echod")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(**given: bool) -> x509.KeyUsage:
    unset: dict[str, Any] = dict.fromkeys(
        (
            "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
            "decipher_only",
        ),
        False,
    )  # fmt: skip
    return x509.KeyUsage(**unset | given)
