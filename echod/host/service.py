"""The daemon as a service of the machine: the account it runs as, and where its unit has it keep things."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from echod.errors import ConfigurationError

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
    """Go on as whom the directory belongs to, where root is about to write there: what comes of it is theirs.

    ConfigurationError where they cannot run this program.
    """
    place = next(path for path in (directory, *directory.parents) if path.exists())
    owner = place.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    account = pwd.getpwuid(owner.st_uid)
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir
    if not os.access(sys.prefix, os.R_OK | os.X_OK):
        raise ConfigurationError(
            f"{directory} belongs to {account.pw_name}, who cannot run the program in {sys.prefix}; run that of the "
            "service: `systemctl cat echod` has its path"
        )


def pull_command(what: str, directory: Path) -> str:
    """The command that fetches weights for this process, as somebody at the machine types it."""
    return as_this_account(f"echod weights pull {what} --weights {shlex.quote(str(directory))}")


def as_this_account(command: str) -> str:
    """The same command, run as the account of this process, if that is one that nobody logs in as."""
    uid = os.geteuid()
    return f"sudo -u {pwd.getpwuid(uid).pw_name} {command}" if uid in SYSTEM_ACCOUNTS else command
