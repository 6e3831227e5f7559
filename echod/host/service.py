"""The daemon as a service of the machine: the account it runs as, and where its unit has it keep things."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

ACCOUNT = "echod"
STATE = Path("/var/lib/echod")  # the account's home, too
UNIT = Path("/etc/systemd/system/echod.service")
SYSTEM_ACCOUNTS = range(1, 1000)  # nobody logs in as these


def as_service(environ: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """What commands that look after a state directory go by: root's are about the service's, where it is installed."""
    if os.geteuid() == 0 and UNIT.exists() and "STATE_DIRECTORY" not in environ:
        return {**environ, "HOME": str(STATE)}
    return environ


def become_owner(directory: Path) -> None:
    """Go on as whom the directory belongs to, if root's process is about to write there for that account."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    owner = place.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


def as_this_account(command: str, uid: int | None = None) -> str:
    """The command as somebody types it to have it run as the account of this process."""
    uid = os.geteuid() if uid is None else uid
    return f"sudo -u {pwd.getpwuid(uid).pw_name} {command}" if uid in SYSTEM_ACCOUNTS else command
