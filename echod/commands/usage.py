"""`echod usage`: what hearing, replying and speaking took."""

from __future__ import annotations

from typing import Any

import click

from echod.commands.common import as_json, connect, print_result, to_daemon
from echod.commands.tables import table_lines

HEAD = (
    "DAY",
    "ACCOUNT",
    "FUNCTION",
    "BACKEND",
    "MODEL",
    "CALLS",
    "FAILED",
    "TOKENS IN",
    "OUT",
    "CHARACTERS",
    "SECONDS",
)


@click.command()
@click.option(
    "--days",
    type=click.IntRange(1),
    metavar="N",
    default=30,
    show_default=True,
    help="How many days back; today is the first.",
)
@as_json
@to_daemon
def usage(days: int, as_json: bool, url: str | None, reconnect: float) -> None:
    """Sum up the calls of speech backends by day, function and model: yours, or everybody's if you are an admin."""
    with connect(url, reconnect) as client:
        sums = client.usage(days)
    print_result(sums, table_lines(HEAD, [_row(each) for each in sums]), as_json)


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    model = "/".join(filter(None, (each["model"], each.get("voice"))))  # an older daemon tells of no voice
    who = (each["day"], each["account"], each["function"], each["backend"], model)
    amounts = (each[name] for name in ("input_tokens", "output_tokens", "characters", "seconds"))
    return (*who, str(each["calls"]), str(each["failed"]), *(f"{amount:,.0f}" for amount in amounts))
