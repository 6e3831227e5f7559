"""`echod devices` and `echod doctor`: what the machine and its daemon can do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from echod.commands.common import as_json, at_url, connect, print_result, to_daemon
from echod.commands.tables import table_lines
from echod.commands.words import explained, t
from echod.host.redaction import redact
from echod.host.terminal import plain

if TYPE_CHECKING:
    from echod.commands.checks import Check


@click.command()
@as_json
@to_daemon
def devices(as_json: bool, url: str | None, reconnect: float) -> None:
    """Show the daemon's devices and what each does."""
    with connect(url, reconnect) as client:
        readiness = client.readiness()
    states, cluster = readiness["devices"], readiness.get("cluster")
    head = ["DEVICE", "STATE", "PID", "ENGINES", "DTYPE", "JOB", "CAN HELP", "SHARES WITH", "RESTARTS", "REASON"]
    rows = [
        [
            state["device"],
            t(state["state"]) if not state["doing"] else f"{t(state['state'])}: {t(state['doing'])}",
            str(state["pid"] or "-"),
            ",".join(state["engines"]) or "-",
            dtypes(state),
            state["job"] or (t(f"helps {state['helping']}") if state["helping"] else "-"),
            can_help(state, states),
            ", ".join(state.get("shares", ())) or "-",
            str(state["restarts"]),
            t(state["reason"] or state["kernels"] or ""),
        ]
        for state in states
    ]
    if cluster:
        for row, node in zip([head, *rows], ["NODE", *(state["node"] or "-" for state in states)], strict=True):
            row.insert(1, node)
    lines = [*table_lines(head, rows), *(["", *of_cluster(cluster)] if cluster else [])]
    print_result(states, lines, as_json)


def of_cluster(cluster: dict[str, Any]) -> Iterator[str]:
    """How the Ray cluster is, and each of its nodes."""
    version = f", Ray {cluster['version']}" if cluster["version"] else ""
    yield plain(t(f"cluster {cluster['address']}{version}: {cluster['problem'] or 'reached'}"))
    yield from table_lines(
        ("NODE", "STATE", "GPUS", "CPUS"),
        [(node["name"], t(node["state"]), str(node["gpus"]), str(node["cpus"])) for node in cluster["nodes"]],
    )


def dtypes(state: dict[str, Any]) -> str:
    """What the engines compute in that have a dtype."""
    return ",".join(dict.fromkeys(what["dtype"] for what in state["computed"].values() if "dtype" in what)) or "-"


def can_help(state: dict[str, Any], states: list[dict[str, Any]]) -> str:
    """Whose clips a device may compute windows of, in a few words."""
    others = [other["device"] for other in states if other is not state and other["numbers"]]
    if not (state["numbers"] and others):
        return "-"
    if len(others) > 2 and len(state["helps"]) == len(others):
        return t("all others")
    return ", ".join(state["helps"]) or t(f"nobody: other numbers than {', '.join(others)}")


@click.command()
@as_json
@at_url
def doctor(as_json: bool, url: str | None) -> None:
    """Check what echod needs on this machine. Exits with 1 where something required is missing.

    Whatever is set up to speak, hear and reply is called once each, also where a call costs money.
    """
    from echod.commands.checks import examine

    checks = [check._replace(finding=redact(check.finding)) for check in examine(url)]
    lines = table_lines(("", "CHECK", "FINDING"), [row for check in checks for row in _rows(check)])
    print_result([check.as_object() for check in checks], lines, as_json)
    sys.exit(0 if all(check.ok for check in checks if check.required) else 1)


def _rows(check: Check) -> Iterator[tuple[str, str, str]]:
    """A finding may have lines to copy behind its first."""
    first, *others = check.finding.split("\n")
    yield t(check.mark), check.name, t(explained(first, check.told))
    yield from (("", "", line) for line in others)
