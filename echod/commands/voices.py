"""`echod voices`: who can speak."""

from __future__ import annotations

import click

from echod.commands.common import as_json, connect, note, print_result, to_daemon
from echod.commands.tables import table_lines
from echod.commands.words import t


@click.command()
@as_json
@to_daemon
def voices(as_json: bool, url: str | None, reconnect: float) -> None:
    """List the voices that `echod say --voice` takes. A backend may have others, which are named in full."""
    with connect(url, reconnect) as client:
        found = client.voices()
    rows = [(voice["id"], t("yes") if voice["default"] else "") for voice in found]
    print_result(found, table_lines(("VOICE", "DEFAULT"), rows), as_json)
    if not (found or as_json):
        note("no voice is known; `echod doctor` says what to install or to set up")
