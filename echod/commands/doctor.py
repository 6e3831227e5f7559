"""`echod doctor`."""

from __future__ import annotations

import sys

import click

from echod.commands.common import as_json, at_url, print_json, print_line
from echod.commands.devices import _rows
from echod.commands.tables import table_lines
from echod.host.redaction import redact


@click.command()
@as_json
@at_url
def doctor(as_json: bool, url: str | None) -> None:
    """Check what echod needs on this machine. Exits with 1 where something required is missing.

    Whatever is set up to speak, hear and reply is called once each, also where a call costs money.
    """
    from echod.commands.checks import examine

    checks = [check._replace(finding=redact(check.finding)) for check in examine(url)]
    if as_json:
        print_json([check._asdict() for check in checks])
    else:
        for line in table_lines(("", "CHECK", "FINDING"), [row for check in checks for row in _rows(check)]):
            print_line(line)
    sys.exit(0 if all(check.ok for check in checks if check.required) else 1)
