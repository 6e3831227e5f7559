"""`echod service show`: the systemd unit for this installation."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import click

PLACE = "/usr/local/bin/echod"  # where the unit files expect the command


@click.group()
def service() -> None:
    """Run the daemon under systemd."""


@service.command("show")
@click.option("--user", is_flag=True, help="The unit for `systemctl --user`, without an account of its own.")
def show(user: bool) -> None:
    """Print the unit file, with the path of this very command in it.

    \b
    echod service show | sudo tee /etc/systemd/system/echod.service
    echod service show --user > ~/.config/systemd/user/echod.service
    """
    unit = files("echod") / "deploy" / ("echod-user.service" if user else "echod.service")
    command = Path(sys.executable).with_name("echod")
    click.echo(unit.read_text("utf-8").replace(PLACE, str(command)), nl=False)
