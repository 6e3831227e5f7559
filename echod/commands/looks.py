"""How a machine is set up: what the steps of an installation look at first."""

from __future__ import annotations

import grp
import pwd
import subprocess
from pathlib import Path

from echod.host import service


def has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def has_account() -> bool:
    try:
        pwd.getpwnam(service.ACCOUNT)
    except KeyError:
        return False
    return True


def owner_of(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return ""


def reads(path: Path, text: str) -> bool:
    try:
        return path.read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def version(command: Path) -> str:
    return answer(str(command), "--version").rpartition(" ")[2]


def complete(place: Path, engine: str) -> bool:
    from echod.inference.echomimic.layout import missing

    return not missing(place, engine)


def is_unit(what: str, *flags: str) -> bool:
    return answer("systemctl", *flags, what, "echod") in ("active", "enabled")


def has_accounts(url: str) -> bool:
    from echod.client.client import Client
    from echod.errors import EchodError

    if not Path(url.removeprefix("unix:")).exists():
        return False
    try:
        with Client(url, patience=0) as client:
            return bool(client.health().get("sign_in"))
    except EchodError:
        return False


def answer(*argv: str) -> str:
    """What a program prints; nothing, if it cannot be run."""
    try:
        return subprocess.run(argv, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
