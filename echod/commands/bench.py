"""`echod bench`: how fast the daemon makes a clip."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echod.commands.common import as_json, connect, note, print_result, quiet, to_daemon
from echod.commands.making import outcome
from echod.commands.tables import fact_lines
from echod.errors import EchodError

if TYPE_CHECKING:
    from echod.client.client import Client

readable = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.command()
@click.argument("portrait", type=readable, required=False)
@click.argument("speech", type=readable, required=False)
@click.option("--engine", metavar="NAME", help="What makes the frames; default: the daemon's main engine.")
@click.option("--size", metavar="WxH", help="Size of the clip. [default: 512x512]")
@as_json
@quiet
@to_daemon
def bench(
    portrait: Path | None,
    speech: Path | None,
    engine: str | None,
    size: str | None,
    as_json: bool,
    quiet: bool,
    url: str | None,
    reconnect: float,
) -> None:
    """Time one job of PORTRAIT and SPEECH, or of examples, and print what it took; the job is removed again.

    Times count from handing in the job, so with upload,
    inspection and the wait for a worker; those of stages are the worker's own. Ctrl-C cancels the job.
    """
    from echod.roles import examples as example_roles

    portrait, speech = portrait or example_roles.PORTRAIT, speech or example_roles.SPEECH
    with connect(url, reconnect, quiet) as client:
        began = time.monotonic()
        video = client.submit(portrait, speech, engine=engine, size=size)
        try:
            note(f"{video['id']} accepted, engine {video['model']}", quiet)
            report = _report(client, video["id"], began)
        finally:
            client.remove(video["id"])
    print_result(report, fact_lines(report), as_json)


def _report(client: Client, video_id: str, began: float) -> dict[str, Any]:
    first: float | None = None
    with contextlib.suppress(EchodError):  # what became of the job, it tells itself
        for _ in client.stream(video_id):
            first = first or time.monotonic() - began
    *_, event = client.follow(video_id)
    total, video = time.monotonic() - began, event["video"]
    if video["status"] != "completed":
        raise outcome(video)
    extras = video["echod"]
    return {
        "engine": video["model"],
        "device": extras["device"],
        "size": video["size"],
        "frames": extras["frames"],
        "first_fragment_s": first and round(first, 3),
        "total_s": round(total, 3),
        "frames_per_s": round(extras["frames"] / total, 2),
        "timings_ms": extras["timings_ms"],
    }
