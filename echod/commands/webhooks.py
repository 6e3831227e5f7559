"""`echod webhooks`: URLs that are told how jobs end."""

from __future__ import annotations

import click

from echod.commands.common import as_json, connect, note, print_json, print_line, print_result, quiet, to_daemon
from echod.commands.tables import day, table_lines
from echod.commands.words import t

EVENTS = ("video.completed", "video.failed", "video.cancelled")


@click.group()
def webhooks() -> None:
    """Have URLs told how jobs end.

    Each is sent OpenAI's events, signed as Standard Webhooks has it, and again until it answers with 2xx.
    """


@webhooks.command()
@click.argument("webhook_url", metavar="URL")
@click.option("--name", default="echod", show_default=True, help="What it is called in lists.")
@click.option(
    "--event", "events", type=click.Choice(EVENTS), multiple=True, help="Which, again for more. [default: all]"
)
@click.option("--everybody", is_flag=True, help="Of everybody's jobs, not only one's own; for admins.")
@as_json
@quiet
@to_daemon
def add(
    webhook_url: str,
    name: str,
    events: tuple[str, ...],
    everybody: bool,
    as_json: bool,
    quiet: bool,
    url: str | None,
    reconnect: float,
) -> None:
    """Add a URL, and print the secret that its messages are signed with: this once."""
    with connect(url, reconnect, quiet) as client:
        made = client.add_webhook(webhook_url, name, list(events or EVENTS), everybody=everybody)
    print_json(made) if as_json else print_line(made["signing_secret"])
    note(f"{made['id']} is told {', '.join(made['event_types'])}; the secret is not shown again", quiet)


@webhooks.command("list")
@as_json
@to_daemon
def list_(as_json: bool, url: str | None, reconnect: float) -> None:
    """List your webhooks; admins see everybody's. FAILED counts events that were given up."""
    with connect(url, reconnect) as client:
        found = client.webhooks()
    head = ("ID", "NAME", "URL", "USER", "WAITING", "FAILED", "STATE")
    rows = [
        (
            webhook["id"],
            webhook["name"],
            webhook["url"],
            t("everybody") if webhook["echod"]["everybody"] else webhook["echod"]["account"],
            str(webhook["echod"]["waiting"]),
            str(webhook["echod"]["failed"]),
            t(webhook["echod"]["disabled"] or "told"),
        )
        for webhook in found
    ]
    print_result(found, table_lines(head, rows), as_json)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@as_json
@to_daemon
def show(webhook_id: str, as_json: bool, url: str | None, reconnect: float) -> None:
    """Show what a webhook was told, newest first, and what waits or was given up."""
    with connect(url, reconnect) as client:
        found = client.deliveries(webhook_id)
    head = ("ID", "EVENT", "JOB", "CREATED", "STATE", "ATTEMPTS", "ANSWER")
    rows = [
        (
            delivery["id"],
            delivery["type"],
            delivery["video_id"],
            day(delivery["created_at"]),
            t(delivery["state"]),
            str(delivery["attempts"]),
            delivery["answer"] or "",
        )
        for delivery in found
    ]
    print_result(found, table_lines(head, rows), as_json)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@quiet
@to_daemon
def retry(webhook_id: str, quiet: bool, url: str | None, reconnect: float) -> None:
    """Send what failed or waits at once, also to a URL that had said that it is gone."""
    with connect(url, reconnect, quiet) as client:
        again = client.retry_webhook(webhook_id)
    note(f"{again} events are sent again", quiet)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--event", type=click.Choice(EVENTS), default=EVENTS[0], show_default=True)
@quiet
@to_daemon
def test(webhook_id: str, event: str, quiet: bool, url: str | None, reconnect: float) -> None:
    """Send a webhook an event of no job, once, and print the status of its answer."""
    with connect(url, reconnect, quiet) as client:
        print_line(str(client.test_webhook(webhook_id, event)))


@webhooks.command()
@click.argument("webhook_ids", metavar="ID...", nargs=-1, required=True)
@quiet
@to_daemon
def rm(webhook_ids: tuple[str, ...], quiet: bool, url: str | None, reconnect: float) -> None:
    """Remove webhooks, and what waits for them."""
    with connect(url, reconnect, quiet) as client:
        for webhook_id in webhook_ids:
            client.remove_webhook(webhook_id)
            note(f"{webhook_id} removed", quiet)
