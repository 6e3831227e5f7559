"""`echod devices` and `echod doctor`: what the machine and its daemon can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from echod.commands.common import as_json, connect, print_json, print_line, to_daemon
from echod.commands.tables import table_lines

if TYPE_CHECKING:
    from echod.commands.checks import Check


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
        print_line(line)


def _rows(check: Check) -> Iterator[tuple[str, str, str]]:
    """A finding may have lines to copy behind its first."""
    first, *others = check.finding.split("\n")
    yield check.mark, check.name, first
    yield from (("", "", line) for line in others)
