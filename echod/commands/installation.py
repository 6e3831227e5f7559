"""What `echod service install` does, and how it is undone: steps for the service of a machine, set up by root."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import echod
from echod import config
from echod.commands.looks import (
    answer,
    complete,
    has_account,
    has_accounts,
    has_group,
    is_unit,
    owner_of,
    reads,
    version,
)
from echod.host import service
from echod.host.steps import Command, Step

PLACE = "/usr/local/bin/echod"  # where the unit files expect the command
# What ProtectHome= hides from the service, and what is gone after a restart.
HIDDEN = tuple(map(Path, ("/home", "/root", "/run", "/tmp", "/var/tmp")))
NVIDIA = Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version")
LOG = "journalctl {}-u echod -n 30 says why."


def command_of(prefix: Path) -> Path:
    return prefix / "bin" / "echod"


def running_command() -> Path:
    """The `echod` of the environment that this process runs in."""
    return Path(sys.executable).with_name("echod")


def unit(command: Path, *, user: bool) -> str:
    """The unit file, for this command."""
    text = files("echod").joinpath("deploy", "echod-user.service" if user else "echod.service").read_text("utf-8")
    if not user and any(command.is_relative_to(home) for home in (Path("/home"), Path("/root"))):
        text = text.replace("ProtectHome=yes", "ProtectHome=read-only")
    return text.replace(PLACE, str(command))


def unfit(*paths: Path) -> str | None:
    """Why an account of its own cannot run what lies there; None if it can."""
    for path in (path.resolve() for path in paths):
        if hidden := next((place for place in HIDDEN if path.is_relative_to(place)), None):
            return f"{path} lies in {hidden}, which the service does not see"
        if shut := next((each for each in (path, *path.parents) if not each.stat().st_mode & 0o005), None):
            return f"{shut} is shut to other accounts"
    return None


def source() -> str:
    """What pip is told to install for an environment with this very echod."""
    found = metadata.distribution("echod")
    extras = "[voice]" if any(each.metadata["Name"] == "hibari-tts" for each in metadata.distributions()) else ""
    origin = json.loads(found.read_text("direct_url.json") or "{}").get("url", "")
    if origin.startswith("file:"):
        return f"{unquote(urlsplit(origin).path)}{extras}"
    return f"echod{extras} @ {origin}" if origin else f"echod{extras}=={found.version}"


@dataclass(frozen=True)
class System:
    """The service of the machine, set up by root."""

    engine: str | None = None  # whose weights are fetched
    admin: str | None = None  # who becomes the first account
    start: bool = True
    environment: Path = Path("/opt/echod")
    state: Path = service.STATE
    unit: Path = service.UNIT
    link: Path = Path(PLACE)
    socket: Path = Path("/run/echod/echod.sock")

    @property
    def command(self) -> Path:
        """That of this environment, if the service's account can run it."""
        return command_of(self.environment) if self.why_another else running_command()

    @property
    def why_another(self) -> str | None:
        own = Path(echod.__file__).parent
        return None if self._inside else unfit(Path(sys.prefix), Path(sys.base_prefix), own)

    @property
    def _inside(self) -> bool:
        return Path(sys.prefix).resolve() == self.environment.resolve()

    def install(self) -> Iterator[Step]:
        yield from (_group(name) for name in ("video", "render"))
        yield self._account()
        if self.why_another:
            yield self._environment(self.why_another)
        yield self._directories()
        yield self._link()
        yield self._unit()
        if self.engine:
            yield self._weights(self.engine)
        if self.start:
            yield self._start()
        if self.start and self.admin:
            yield admin_step(self.command, f"unix:{self.socket}", self.admin)

    def uninstall(self, *, purge: bool) -> Iterator[Step]:
        yield Step(
            "the service is stopped and disabled",
            lambda: not self.unit.exists(),
            (Command(("systemctl", "disable", "--now", "echod")),),
        )
        yield Step(
            f"{self.unit} is removed",
            lambda: not self.unit.exists(),
            (Command(("rm", str(self.unit))), Command(("systemctl", "daemon-reload"))),
        )
        yield Step(
            f"{self.link} is removed",
            lambda: not self.link.is_symlink(),
            (Command(("rm", str(self.link))),),
        )
        if purge:
            yield from self._purge()

    def _purge(self) -> Iterator[Step]:
        for place in (self.state, config.SYSTEM_FILE.parent):
            yield Step(
                f"{place} is removed, with all in it",
                lambda place=place: not place.exists(),  # type: ignore[misc]
                (Command(("rm", "-r", str(place))),),
            )
        yield Step(
            f"the account {service.ACCOUNT} is removed",
            lambda: not has_account(),
            (Command(("userdel", service.ACCOUNT)),),
        )
        if self._mark.exists():  # last: this very program may lie there
            yield Step(
                f"{self.environment} is removed",
                lambda: not self.environment.exists(),
                (Command(("rm", "-r", str(self.environment))),),
            )

    @property
    def _mark(self) -> Path:
        """Says that the environment was made here, and is for us to remove."""
        return self.environment / "made-by-echod-service-install"

    def _account(self) -> Step:
        flags = ("--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin")
        return Step(
            f"the account {service.ACCOUNT}",
            has_account,
            (Command(("useradd", *flags, "--home-dir", str(self.state), service.ACCOUNT)),),
        )

    def _environment(self, why: str) -> Step:
        python = "/usr/bin/python3" if unfit(Path(sys.base_prefix)) else sys.executable
        pip = str(self.environment / "bin" / "pip")
        return Step(
            f"an environment in {self.environment}, since {why}",
            lambda: version(command_of(self.environment)) == echod.__version__,
            (
                Command((python, "-m", "venv", str(self.environment))),
                Command(("touch", str(self._mark))),
                Command((pip, "install", "--quiet", source())),
            ),
            "It needs Python 3.11 or newer with venv (apt install python3-venv) and pip's way to packages.",
        )

    def _directories(self) -> Step:
        places = (self.state, self.state / "weights")
        owner = ("-o", service.ACCOUNT, "-g", service.ACCOUNT, "-m", "0750")
        return Step(
            f"{self.state}, with weights/",
            lambda: all(place.is_dir() and owner_of(place) == service.ACCOUNT for place in places),
            (Command(("install", "-d", *owner, *map(str, places))),),
        )

    def _link(self) -> Step:
        return Step(
            f"{self.link}, for everybody's PATH",
            lambda: self.link.resolve() == self.command.resolve() and self.link.exists(),
            (Command(("ln", "-s", *(["-f"] if self.link.is_symlink() else []), str(self.command), str(self.link))),),
            f"Move away what {self.link} is.",
        )

    def _unit(self) -> Step:
        text = unit(self.command, user=False)
        shown = f"{self.command} service show | tee {self.unit}"
        return Step(
            str(self.unit),
            lambda: reads(self.unit, text),
            (Command(("tee", str(self.unit)), text, shown), Command(("systemctl", "daemon-reload"))),
            "Is systemd what this machine runs on?",
        )

    def _weights(self, engine: str) -> Step:
        place = self.state / "weights"
        pull = (str(self.command), "weights", "pull", engine, "--weights", str(place))
        home = f"HOME={self.state}"
        return Step(
            f"weights of {engine} in {place}",
            lambda: complete(place, engine),
            (Command(("runuser", "-u", service.ACCOUNT, "--", "env", home, *pull)),),
            'Pulled later, go on with --no-weights: until then `engine = "preview"` in /etc/echod/config.toml serves.',
        )

    def _start(self) -> Step:
        return Step(
            "the service runs, and starts with the machine",
            lambda: is_unit("is-active") and is_unit("is-enabled") and not self._stale,
            (Command(("systemctl", "enable", "echod")), Command(("systemctl", "restart", "echod"))),
            LOG.format(""),
        )

    @property
    def _stale(self) -> bool:
        """Whether what runs is older than its unit or its program."""
        began = answer("systemctl", "show", "--property=ExecMainStartTimestampMonotonic", "--value", "echod")
        newest = max((path.stat().st_mtime for path in (self.unit, self.command) if path.exists()), default=0.0)
        # Microseconds: an installation writes the unit and starts it within one second.
        return not began.isdecimal() or newest > time.time() - time.monotonic() + int(began) / 1e6


def main_engine() -> str | None:
    """What has weights to fetch on this machine: echomimic, where there is a driver of NVIDIA's."""
    return "echomimic" if any(path.exists() for path in NVIDIA) else None


def _group(name: str) -> Step:
    return Step(f"the group {name}", lambda: has_group(name), (Command(("groupadd", "--system", name)),))


def admin_step(command: Path, url: str, name: str) -> Step:
    add = (str(command), "--url", url, "users", "add", name, "--role", "admin")
    remedy = f"It reads the password from the terminal, or one line of stdin. Later: `{' '.join(add)}`, as root."
    return Step(f"{name}, the first account, an admin's", lambda: has_accounts(url), (Command(add),), remedy)
