"""Commands about jobs that exist: ps show watch wait cancel rm fetch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from echod.commands.common import (
    as_json,
    connect,
    job_id,
    job_ids,
    note,
    print_json,
    print_json_line,
    print_line,
    print_path,
    print_result,
    quiet,
    to_daemon,
)
from echod.commands.making import outcome, writable
from echod.commands.overview import Overview, job_table
from echod.commands.progress import Progress, summary
from echod.commands.saving import Target
from echod.commands.tables import day, fact_lines, terminal_size
from echod.commands.words import t

if TYPE_CHECKING:
    from echod.client.client import Client, Event, Video

LIVE = ("queued", "in_progress")


@click.command()
@click.option("-a", "--all", "every", is_flag=True, help="Also jobs that have ended.")
@as_json
@to_daemon
def ps(every: bool, as_json: bool, url: str | None, reconnect: float) -> None:
    """List the jobs that wait or run, newest first."""
    with connect(url, reconnect) as client:
        videos = [video for video in client.videos() if every or video["status"] in LIVE]
    size = terminal_size()
    print_result(videos, job_table(videos, size and size[0]), as_json)


@click.command()
@job_id
@as_json
@to_daemon
def show(job_id: str, as_json: bool, url: str | None, reconnect: float) -> None:
    """Show one job."""
    with connect(url, reconnect) as client:
        video = client.video(client.find_video(job_id))
    print_result(video, fact_lines(video), as_json)


@click.command()
@click.argument("job_id", metavar="[ID]", required=False)
@as_json
@to_daemon
def watch(job_id: str | None, as_json: bool, url: str | None, reconnect: float) -> None:
    """Print what happens to one job until it ends, or to all until Ctrl-C. --json prints one object a line.

    On a terminal all jobs have a line each, which changes in place.
    """
    with connect(url, reconnect) as client:
        if job_id is None and not as_json and terminal_size():
            overview = Overview()
            client.tell = overview.note
            for event in client.events():
                overview.show(event["video"])
        for event in client.follow(client.find_video(job_id)) if job_id else client.events():
            if as_json:
                print_json_line(event)
            else:
                print_line(_line(event))
    if event["video"]["status"] != "completed":
        raise outcome(event["video"])


def _line(event: Event) -> str:
    video = event["video"]
    at = time.strftime("%H:%M:%S", time.localtime(event["ts"]))
    return f"{at} {video['id']} {event['type']} {summary(video)}"


@click.command()
@job_ids
@as_json
@quiet
@to_daemon
def wait(job_ids: tuple[str, ...], as_json: bool, quiet: bool, url: str | None, reconnect: float) -> None:
    """Wait until jobs have ended, and print how each did. Ctrl-C leaves them running."""
    with connect(url, reconnect, quiet) as client, _gathering(job_ids, as_json) as videos:
        for name in job_ids:
            videos.append(video := _ended(client, client.find_video(name), quiet))
            if not as_json:
                print_line(f"{video['id']} {t(video['status'])}")
    for video in videos:
        if video["status"] != "completed":
            raise outcome(video)


@contextmanager
def _gathering(job_ids: tuple[str, ...], as_json: bool) -> Iterator[list[Video]]:
    """The jobs that a command comes by, printed with --json, also where it ends at one that is refused."""
    videos: list[Video] = []
    try:
        yield videos
    finally:
        if as_json and (videos or len(job_ids) > 1):
            print_json(videos if len(job_ids) > 1 else videos[0])


def _ended(client: Client, job_id: str, quiet: bool) -> Video:
    with Progress(quiet) as progress:
        client.tell = progress.note
        for event in client.follow(job_id):
            progress.show(event["video"])
    return event["video"]


@click.command()
@job_ids
@quiet
@to_daemon
def pin(job_ids: tuple[str, ...], quiet: bool, url: str | None, reconnect: float) -> None:
    """Keep clips until they are removed, whatever their age and however many there are."""
    with connect(url, reconnect, quiet) as client:
        for name in job_ids:
            note(f"{client.pin(client.find_video(name))['id']} is kept until `echod rm`", quiet)


@click.command()
@job_ids
@quiet
@to_daemon
def unpin(job_ids: tuple[str, ...], quiet: bool, url: str | None, reconnect: float) -> None:
    """Keep clips no longer than new ones."""
    with connect(url, reconnect, quiet) as client:
        for name in job_ids:
            video = client.unpin(client.find_video(name))
            until = f" until {day(video['expires_at'])}" if video["expires_at"] else ""
            note(f"{video['id']} is kept{until}", quiet)


@click.command()
@job_ids
@as_json
@quiet
@to_daemon
def cancel(job_ids: tuple[str, ...], as_json: bool, quiet: bool, url: str | None, reconnect: float) -> None:
    """Cancel jobs: at once those that wait, at their next checkpoint those that run."""
    with connect(url, reconnect, quiet) as client, _gathering(job_ids, as_json) as videos:
        for name in job_ids:
            videos.append(video := client.cancel(client.find_video(name)))
            word = "ends at its next checkpoint" if video["status"] == "in_progress" else f"is {video['status']}"
            note(f"{video['id']} {t(word)}", quiet or as_json)


@click.command()
@job_ids
@quiet
@to_daemon
def rm(job_ids: tuple[str, ...], quiet: bool, url: str | None, reconnect: float) -> None:
    """Delete jobs with their clips; those that have not ended are cancelled first."""
    with connect(url, reconnect, quiet) as client:
        for job_id in map(client.find_video, job_ids):
            client.remove(job_id)
            note(f"{job_id} removed", quiet)


@click.command()
@job_id
@click.option("-o", "--output", type=writable, metavar="OUT.mp4", help="Where the clip goes; replaces a file there.")
@click.option("--manifest", is_flag=True, help="Save the clip's manifest too, beside it as CLIP.manifest.json.")
@to_daemon
def fetch(job_id: str, output: Path | None, manifest: bool, url: str | None, reconnect: float) -> None:
    """Save a finished job's clip, and print its path. Without -o it is saved here as ID.mp4, never replacing a file."""
    with connect(url, reconnect) as client:
        found = client.find_video(job_id)
        said = client.manifest(found) if manifest else None
        path = Target(output, found).save(client, found)
    if said is not None:
        beside = Target(path.with_suffix(".manifest.json"), "").write(json.dumps(said, indent=2).encode() + b"\n")
        note(f"its manifest is {beside}")
    print_path(path)
