"""`echod users`: who may use the daemon. For admins; the unix socket counts as one."""

from __future__ import annotations

import sys

import click

from echod.commands.common import as_json, confirm_removal, connect, note, print_result, quiet, to_daemon
from echod.commands.tables import day, table_lines
from echod.commands.words import t
from echod.errors import EchodError
from echod.host.terminal import plain

MAX_LINE = 4096

name = click.argument("name")


@click.group()
def users() -> None:
    """Add, list and remove the accounts of people.

    Passwords are asked for, or read as one line from stdin; they are never arguments, which other users of the machine
    can see.
    """


@users.command()
@name
@click.option("--role", type=click.Choice(["user", "admin"]), default="user", show_default=True)
@quiet
@to_daemon
def add(name: str, role: str, quiet: bool, url: str | None, reconnect: float) -> None:
    """Add an account. The first one must be an admin's, and is added by the unix socket, on the daemon's own machine;
    from then on the TCP port wants a token or a login.
    """
    with connect(url, reconnect, quiet) as client:
        client.accounts()  # who may not add any is told before a password is typed
        account = client.add_account(name, role, new_password(name))
    note(f"{account['name']} added, {account['role']}", quiet)


@users.command("list")
@as_json
@to_daemon
def list_(as_json: bool, url: str | None, reconnect: float) -> None:
    """List everybody who has an account."""
    with connect(url, reconnect) as client:
        accounts = client.accounts()
    rows = [(account["name"], account["role"], day(account["created_at"])) for account in accounts]
    print_result(accounts, table_lines(("NAME", "ROLE", "ADDED"), rows), as_json)


@users.command()
@name
@quiet
@to_daemon
def passwd(name: str, quiet: bool, url: str | None, reconnect: float) -> None:
    """Change an account's password. Its sessions and tokens end."""
    with connect(url, reconnect, quiet) as client:
        client.set_password(name, new_password(name))
    note(f"password of {name} changed; its sessions and tokens have ended", quiet)


@users.command()
@name
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@quiet
@to_daemon
def rm(name: str, yes: bool, quiet: bool, url: str | None, reconnect: float) -> None:
    """Remove an account with its jobs, clips, files and tokens."""
    if not yes:
        confirm_removal(f"Remove {name} with all jobs, clips, files and tokens?")
    with connect(url, reconnect, quiet) as client:
        client.remove_account(name)
    note(f"{name} removed", quiet)


def new_password(name: str) -> str:
    return _password(f"Password for {name}", confirm=True)


def current_password(name: str) -> str:
    return _password(f"Current password of {name}", confirm=False)


def _password(question: str, *, confirm: bool) -> str:
    """Typed twice where it is new; from a pipe the next line."""
    if sys.stdin.isatty():
        return str(click.prompt(plain(t(question)), hide_input=True, confirmation_prompt=confirm, err=True))
    line = sys.stdin.readline(MAX_LINE).removesuffix("\n").removesuffix("\r")
    if not line:
        raise EchodError("invalid_request", "stdin is no terminal and holds no password; write it there as one line")
    return line
