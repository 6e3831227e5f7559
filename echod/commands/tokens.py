"""`echod tokens`: what programs show instead of a password."""

from __future__ import annotations

import time
from typing import Any

import click

from echod.commands.common import as_json, connect, note, print_json, print_line, print_result, quiet, to_daemon
from echod.commands.tables import day, table_lines
from echod.commands.words import t
from echod.kinds import DURATION


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A duration as settings have it."""
    try:
        return None if value is None else float(DURATION.parse(value))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}", context, parameter) from None


@click.group()
def tokens() -> None:
    """Make, list and revoke API tokens.

    Programs send one as `Authorization: Bearer TOKEN`; for this command line it goes into ECHOD_TOKEN.
    """


@tokens.command()
@click.argument("name")
@click.option("--user", metavar="NAME", help="Whose it will be; for admins. [default: yours]")
@click.option("--role", type=click.Choice(["metrics"]), help="To read /metrics and nothing else; for admins.")
@click.option("--expires", callback=_seconds, metavar="IN", help="When it ends, such as 12h or 30d. [default: never]")
@as_json
@quiet
@to_daemon
def create(
    name: str,
    user: str | None,
    role: str | None,
    expires: float | None,
    as_json: bool,
    quiet: bool,
    url: str | None,
    reconnect: float,
) -> None:
    """Make a token, called NAME in lists, and print it: this once, since the daemon keeps only a hash."""
    with connect(url, reconnect, quiet) as client:
        token = client.create_token(name, account=user, role=role, expires_in=expires)
    print_json(token) if as_json else print_line(token["token"])
    note(f"{token['id']} ({name}) of {token['account']}, {_expiry(token)}; it is not shown again", quiet)


@tokens.command("list")
@as_json
@to_daemon
def list_(as_json: bool, url: str | None, reconnect: float) -> None:
    """List your tokens, without their secrets; admins see everybody's. LAST USED is since the daemon's start."""
    with connect(url, reconnect) as client:
        tokens = client.tokens()
    head = ("ID", "NAME", "USER", "ROLE", "CREATED", "EXPIRES", "LAST USED")
    rows = [
        (
            token["id"],
            token["name"],
            token["account"],
            token.get("role") or "",
            day(token["created_at"]),
            _expiry(token),
            day(token["last_used_at"]),
        )
        for token in tokens
    ]
    print_result(tokens, table_lines(head, rows), as_json)


@tokens.command()
@click.argument("token_ids", metavar="ID...", nargs=-1, required=True)
@quiet
@to_daemon
def revoke(token_ids: tuple[str, ...], quiet: bool, url: str | None, reconnect: float) -> None:
    """End tokens; what is connected with one is cut off."""
    with connect(url, reconnect, quiet) as client:
        for token_id in token_ids:
            client.revoke_token(token_id)
            note(f"{token_id} revoked", quiet)


def _expiry(token: dict[str, Any]) -> str:
    if token["expires_at"] is None:
        return t("never expires")
    until = day(token["expires_at"])
    return t(f"expired {until}" if token["expires_at"] <= time.time() else f"expires {until}")
