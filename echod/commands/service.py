"""`echod service`: the daemon under systemd, for the machine or for oneself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from echod.commands.common import confirm_removal, note, print_line
from echod.commands.words import t
from echod.errors import ConfigurationError

if TYPE_CHECKING:
    from echod.commands.installation import System
    from echod.commands.own_installation import Own

for_user = click.option("--user", is_flag=True, help="For `systemctl --user`, without an account of its own.")
dry_run = click.option("-n", "--dry-run", is_flag=True, help="Only print what would be done, in lines for a shell.")


@click.group()
def service() -> None:
    """Run the daemon under systemd."""


@service.command("show")
@for_user
def show(user: bool) -> None:
    """Print the unit file, with the path of this very command in it. `install` puts it in place."""
    from echod.commands.installation import running_command, unit

    click.echo(unit(running_command(), user=user), nl=False)


@service.command("install")
@for_user
@click.option("--engine", metavar="NAME", help="Whose weights to fetch. [default: echomimic with an NVIDIA driver]")
@click.option("--no-weights", is_flag=True, help="Fetch none.")
@click.option("--admin", metavar="NAME", default="admin", show_default=True, help="The first account.")
@click.option("--no-admin", is_flag=True, help="Add no account: whoever is on this machine is let in.")
@click.option("--no-start", is_flag=True, help="Start nothing, as before `echod restore`; adds no account either.")
@dry_run
def install(
    user: bool, engine: str | None, no_weights: bool, admin: str, no_admin: bool, no_start: bool, dry_run: bool
) -> None:
    """Set the service up and start it: as root for the machine, with --user for yourself.

    For the machine: the groups video and render, the account echod, an environment in /opt/echod if the account could
    not run this one, /var/lib/echod, a link in /usr/local/bin, the unit, weights, the start, and the first admin, whose
    password is asked for or read as one line from stdin. What is there already is left as it is, so a second run
    repairs, or brings in the version it is run from.
    """
    from echod.commands.installation import System, main_engine
    from echod.commands.own_installation import Own
    from echod.host.steps import carry_out

    _check_root(user, dry_run, "install")
    weights = None if no_weights else engine or main_engine()
    plan = (Own if user else System)(weights, None if no_admin else admin, start=not no_start)
    changed = carry_out(plan.install(), _tell, dry_run=dry_run)
    if dry_run:
        return
    if not changed:
        note("nothing to do")
    if weights is None and not no_weights:
        note("no NVIDIA driver here, so no weights: it makes previews; --engine echomimic fetches them all the same")
    if not no_start:
        note(f"echod answers at {_address(plan)} and {plan.socket}")


@service.command("uninstall")
@for_user
@click.option("--purge", is_flag=True, help="Also clips, accounts, weights, settings, and the account and environment.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before --purge.")
@dry_run
def uninstall(user: bool, purge: bool, yes: bool, dry_run: bool) -> None:
    """Stop the service and remove what `install` put in place; what people made stays, unless with --purge."""
    from echod.commands.installation import System
    from echod.commands.own_installation import Own
    from echod.host.steps import carry_out

    _check_root(user, dry_run, "uninstall")
    plan = (Own if user else System)()
    if purge and not yes and not dry_run:
        confirm_removal("Remove every clip, upload, account and weight of the service for good?")
    carry_out(plan.uninstall(purge=purge), _tell, dry_run=dry_run)
    if not purge:
        note(f"state, settings and account stay; `{plan.command} service uninstall --purge` removes them")


def _tell(line: str) -> None:
    print_line(t(line))


def _check_root(user: bool, dry_run: bool, what: str) -> None:
    if user or dry_run or os.geteuid() == 0:
        return
    from echod.commands.installation import running_command

    raise ConfigurationError(
        f"the machine's service is root's to set up: `sudo {running_command()} service {what}`; --dry-run shows what "
        "it would do, --user is a service of your own"
    )


def _address(plan: System | Own) -> str:
    from echod.config import load

    settings = load(environ=_environ(plan))
    return settings.public_url or f"http://{settings.host}:{settings.port}"


def _environ(plan: System | Own) -> Mapping[str, str]:
    """What the unit's daemon reads its settings from."""
    from echod.commands.installation import System

    return {"HOME": str(plan.state)} if isinstance(plan, System) else {"HOME": str(Path.home())}
