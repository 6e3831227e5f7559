"""What `echod service install --user` does, and how it is undone: a service of one's own, under `systemctl --user`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from echod import config
from echod.commands.installation import LOG, admin_step, running_command, unit
from echod.commands.looks import complete, is_unit, reads
from echod.host.steps import Command, Step


@dataclass(frozen=True)
class Own:
    """A service of one's own, under `systemctl --user`."""

    engine: str | None = None
    admin: str | None = None
    start: bool = True
    home: Path = field(default_factory=Path.home)

    @property
    def unit(self) -> Path:
        return self.home / ".config/systemd/user/echod.service"

    @property
    def command(self) -> Path:
        return running_command()

    def install(self) -> Iterator[Step]:
        text = unit(self.command, user=True)
        yield Step(
            str(self.unit),
            lambda: reads(self.unit, text),
            (
                Command(("mkdir", "-p", str(self.unit.parent))),
                Command(("tee", str(self.unit)), text, f"{self.command} service show --user | tee {self.unit}"),
                Command(("systemctl", "--user", "daemon-reload")),
            ),
            "Is there a session of systemd's for you? A login by ssh has one; `su` does not.",
        )
        if self.engine:
            engine, place = self.engine, config.load().weights_dir
            yield Step(
                f"weights of {engine} in {place}",
                lambda: complete(place, engine),
                (Command((str(self.command), "weights", "pull", engine, "--weights", str(place))),),
                "Pulled later, go on with --no-weights.",
            )
        if not self.start:
            return
        yield Step(
            "the service runs, and starts when you log in",
            lambda: is_unit("is-active", "--user") and is_unit("is-enabled", "--user"),
            (
                Command(("systemctl", "--user", "enable", "echod")),
                Command(("systemctl", "--user", "restart", "echod")),
            ),
            LOG.format("--user "),
        )
        if self.admin:
            yield admin_step(self.command, f"unix:{self.socket}", self.admin)

    @property
    def socket(self) -> Path:
        return Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"), "echod/echod.sock")

    def uninstall(self, *, purge: bool) -> Iterator[Step]:
        yield Step(
            "the service is stopped and disabled",
            lambda: not self.unit.exists(),
            (Command(("systemctl", "--user", "disable", "--now", "echod")),),
        )
        yield Step(
            f"{self.unit} is removed",
            lambda: not self.unit.exists(),
            (Command(("rm", str(self.unit))), Command(("systemctl", "--user", "daemon-reload"))),
        )
        if purge:
            state = config.load().state_dir
            yield Step(
                f"{state} is removed, with all in it", lambda: not state.exists(), (Command(("rm", "-r", str(state))),)
            )
