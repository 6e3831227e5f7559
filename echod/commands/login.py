"""`echod login`, `logout` and `passwd`: one's own account at a daemon."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import click

from echod.commands import credentials
from echod.commands.common import connect, note, quiet, to_daemon
from echod.commands.users import current_password, new_password
from echod.commands.words import t
from echod.errors import EchodError

if TYPE_CHECKING:
    from echod.client.client import Client

name = click.argument("name", required=False)


@click.command()
@name
@quiet
@to_daemon
def login(name: str | None, quiet: bool, url: str | None, reconnect: float) -> None:
    """Sign in with NAME and password, and keep a token for this daemon.

    The password is asked for, or read as one line from stdin. The token goes into a file that you alone may read, and
    is used wherever ECHOD_TOKEN is not set; `echod logout` ends it.
    """
    with connect(url, reconnect, quiet, anonymous=True) as client:
        if not client.health().get("sign_in", True):
            raise EchodError("invalid_request", "this daemon has no accounts: there is nothing to log in to")
        name = name or click.prompt(t("Name"), err=True)
        _log_in(client, name, current_password(name))
    note(f"logged in at {client.address} as {name}", quiet)


@click.command()
@quiet
@to_daemon
def logout(quiet: bool, url: str | None, reconnect: float) -> None:
    """End the token that `echod login` keeps for this daemon, and forget it."""
    with connect(url, reconnect, quiet) as client:
        address = str(client.address)
        if (kept := credentials.kept_for(address)) is None:
            raise EchodError("invalid_request", f"no token is kept for {address}")
        with contextlib.suppress(EchodError):  # it may have ended already
            client.revoke_token(kept.id)
    credentials.forget(address)
    note(f"logged out at {address}", quiet)


@click.command()
@name
@quiet
@to_daemon
def passwd(name: str | None, quiet: bool, url: str | None, reconnect: float) -> None:
    """Change your own password, at the daemon where you are logged in.

    Both passwords are asked for, or read from stdin, the old one first, as a line each. Sessions and tokens of the
    account end; where a token is kept here, a new one takes its place.
    """
    with connect(url, reconnect, quiet) as client:
        name = name or client.me()["name"]
    with connect(url, reconnect, quiet, anonymous=True) as client:
        old, new = current_password(name), new_password(name)
        client.change_password(name, old, new)
        if credentials.kept_for(str(client.address)):
            _log_in(client, name, new)
    note(f"password of {name} changed; its sessions and tokens have ended", quiet)


def _log_in(client: Client, name: str, password: str) -> None:
    token = client.login(name, password, label=f"login at {socket.gethostname()}"[:64])
    credentials.keep(str(client.address), credentials.Kept(token["id"], token["token"]))
