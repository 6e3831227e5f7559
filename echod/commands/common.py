"""Options that commands share, and what they make of them: a client, lines on stderr, JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from echod.commands.words import t
from echod.host.redaction import redact
from echod.host.terminal import plain, plain_json

if TYPE_CHECKING:
    from echod.client.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing on stderr but errors.")
job_id = click.argument("job_id", metavar="ID")
job_ids = click.argument("job_ids", metavar="ID...", nargs=-1, required=True)


at_url = click.option("--url", metavar="URL", help="The daemon: http://HOST:PORT or unix:PATH. [else ECHOD_URL]")


def to_daemon(command: Command) -> Command:
    """Adds --url and --reconnect, for `connect`."""
    reconnect = click.option(
        "--reconnect",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        default=60,
        show_default=True,
        help="How long to wait for a daemon that restarts.",
    )
    return at_url(reconnect(command))


def connect(url: str | None, reconnect: float, quiet: bool = False, *, anonymous: bool = False) -> Client:
    """A client of the daemon; the token, being a secret, comes by the environment or from `echod login`."""
    from echod.client.address import find
    from echod.client.client import Client

    address = str(find(url or click.get_current_context().find_root().params.get("url")))
    token = None if anonymous else os.environ.get("ECHOD_TOKEN") or _kept_token(address)
    return Client(address, token, patience=reconnect, tell=lambda message: note(message, quiet))


def _kept_token(address: str) -> str | None:
    from echod.commands.credentials import kept_for

    kept = kept_for(address)
    return kept.token if kept else None


def note(message: str, quiet: bool = False) -> None:
    """A line for the person at the terminal. A secret that was given in the wrong place is not repeated."""
    if not quiet:
        print_line(f"echod: {t(redact(message))}", err=True)


def confirm_removal(question: str) -> None:
    """Ask the person at the terminal; unless they agree the command ends."""
    try:
        agreed = click.confirm(plain(t(question)), err=True)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):  # else it was Ctrl-C
            click.echo(err=True)
            raise click.UsageError("stdin has no answer; --yes removes without asking") from None
        raise
    if not agreed:
        note("nothing removed")
        raise click.exceptions.Exit(1)


def print_line(text: str, *, err: bool = False) -> None:
    """Whatever is not this program's own text goes to a terminal by way of this, or of what stands below."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(plain(text).encode(encoding, "replace").decode(encoding), err=err)


def print_path(path: Path) -> None:
    """As it is, so that programs find the file; a terminal gets it like other text."""
    if sys.stdout.isatty():
        print_line(str(path))
    else:
        click.echo(os.fsencode(path))  # a path need not be text


def print_result(value: Any, lines: Iterable[str], as_json: bool) -> None:
    """JSON for a program, lines for a person."""
    if as_json:
        print_json(value)
        return
    for line in lines:
        print_line(line)


def print_json(value: Any) -> None:
    _print_json(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    _print_json(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _print_json(text: str) -> None:
    click.echo(plain_json(text).encode())  # JSON is UTF-8, whatever the terminal is
