"""`echod devices` and `echod doctor`: what the machine and its daemon can do."""

from __future__ import annotations

import sys

import click

from echod.commands.options import as_json, at_url, connect, print_json, to_daemon
from echod.commands.tables import table_lines
from echod.redaction import redact


@click.command()
@as_json
@to_daemon
def devices(as_json: bool, url: str | None, reconnect: float) -> None:
    """Show the daemon's devices and what each does."""
    with connect(url, reconnect) as client:
        states = client.readiness()["devices"]
    if as_json:
        print_json(states)
        return
    head = ("DEVICE", "STATE", "PID", "ENGINES", "JOB", "RESTARTS", "REASON")
    rows = [
        (
            state["device"],
            state["state"],
            str(state["pid"] or "-"),
            ",".join(state["engines"]) or "-",
            state["job"] or "-",
            str(state["restarts"]),
            state["reason"] or "",
        )
        for state in states
    ]
    for line in table_lines(head, rows):
        click.echo(line)


@click.command()
@as_json
@at_url
def doctor(as_json: bool, url: str | None) -> None:
    """Check what echod needs on this machine. Exits with 1 where something required is missing.

    Whatever is set up to speak, hear and reply is called once each, also where a call costs money.
    """
    from echod.doctor import examine

    checks = [check._replace(finding=redact(check.finding)) for check in examine(url)]
    if as_json:
        print_json([check._asdict() for check in checks])
    else:
        for line in table_lines(
            ("", "CHECK", "FINDING"), [(check.mark, check.name, check.finding) for check in checks]
        ):
            click.echo(line)
    sys.exit(0 if all(check.ok for check in checks if check.required) else 1)
