"""What `echod submit` and `echod say` share: hand in a job, wait for the clip, save it."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from echod.commands.common import Command, as_json, connect, note, print_json, print_line, print_path, quiet, to_daemon
from echod.commands.progress import Progress
from echod.commands.saving import Target
from echod.commands.words import explained, t
from echod.errors import TABLE, EchodError
from echod.inference.limits import DEFAULT_SEED, LABEL_LANGUAGES, LABELS

if TYPE_CHECKING:
    from echod.client.client import Client, Video

readable = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path)
writable = click.Path(path_type=Path)
STDIN = Path("-")

OPTIONS = (
    click.option(
        "-o", "--output", type=writable, metavar="OUT.mp4", help="Where the clip goes; replaces a file there."
    ),
    click.option("--title", metavar="TEXT", help="What it is called. [default: the recording's name, or first words]"),
    click.option("--engine", metavar="NAME", help="What makes the frames; default: the daemon's main engine."),
    click.option("--seed", type=int, metavar="N", help=f"Same seed, same clip. [default: {DEFAULT_SEED}]"),
    click.option(
        "--view",
        type=click.Choice(("face", "picture")),
        help="The face alone, or the whole picture with the head moving in it. [default: picture; face with --size]",
    ),
    click.option("--size", metavar="WxH", help="Size of the face as it is made, and of its clip. [default: 512x512]"),
    click.option(
        "--crop", metavar="X0,Y0,X1,Y1", help="The part of the picture that frames are made of. [default: by the face]"
    ),
    click.option(
        "--dilation", type=float, metavar="D", help="How much more than the face, on each side. [default: 0.5]"
    ),
    click.option("--face", type=int, metavar="N", help="Which face, from left to right from 0. [default: the largest]"),
    click.option("--fps", type=int, metavar="N", help="Frames per second. [default: 24]"),
    click.option("--steps", type=int, metavar="N", help="Denoising steps, for engines that have them."),
    click.option("--guidance", type=float, metavar="G", help="Strength of guidance, for engines that have it."),
    click.option(
        "--lossless", is_flag=True, help="Encode without loss, for further editing: large, and few players play it."
    ),
    click.option(
        "--label", type=click.Choice(LABELS), help="Write AI-generated into a corner. [default: as the daemon has it]"
    ),
    click.option("--label-language", type=click.Choice(LABEL_LANGUAGES), help="The label's. [default: the daemon's]"),
    click.option("--detach", is_flag=True, help="Print the job's id and leave."),
    as_json,
    quiet,
    to_daemon,
)


def makes_a_clip(command: Command) -> Command:
    """Adds the options that `make` takes."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def make(
    portrait: Path,
    speech: Path | None = None,
    *,
    stem: str,
    output: Path | None,
    detach: bool,
    as_json: bool,
    quiet: bool,
    url: str | None,
    reconnect: float,
    **options: Any,
) -> None:
    """Make a clip and print its path; `stem` names it where `output` does not. Ctrl-C cancels the job.

    Either file may be STDIN. `options` are those of `Client.submit`.
    """
    options["view"] = options.get("view") or ("face" if options.get("size") else "picture")
    target = Target(output, stem)
    if not detach:
        target.check()
    with ExitStack() as stack:
        client = stack.enter_context(connect(url, reconnect, quiet))
        if speech is None and not options.get("voice"):
            _check_voice(client)
        files = [
            stack.enter_context(_spooled_stdin()) if path == STDIN else path for path in (portrait, speech) if path
        ]
        video = made(client, files, quiet, follow=not detach, **options)
        if detach:
            for warning in _warnings(video):
                note(warning, quiet)
            print_json(video) if as_json else print_line(video["id"])
        else:
            _finish(client, video, target, as_json, quiet)


def made(client: Client, files: list[Any], quiet: bool, *, follow: bool = True, **options: Any) -> Video:
    """The job of these files, ended unless it is not to be followed. Ctrl-C cancels it."""
    with _interrupt_deferred(quiet) as interrupted:
        video = client.submit(*files, **options)
    if not follow:
        return video
    try:
        if interrupted:
            raise KeyboardInterrupt
        return _follow(client, video, quiet)
    except KeyboardInterrupt:
        _cancel(client, video, quiet)
        raise


def _check_voice(client: Client) -> None:
    """Refuse words that nobody here can speak, before anything is sent."""
    from echod.client.connection import error_of

    if reason := client.capabilities()["speaks"]["reason"]:
        raise error_of(reason)


def _finish(client: Client, video: Video, target: Target, as_json: bool, quiet: bool) -> None:
    """Save the clip of a job that ended well and print where; raise the error of one that did not."""
    if video["status"] == "completed":
        path = target.save(client, video["id"])
        if reason := video["echod"].get("unsigned"):
            note(f"the clip has no Content Credentials: {reason}", quiet)
        print_json({**video, "path": str(path)}) if as_json else print_path(path)
        return
    if as_json:
        print_json(video)
    raise outcome(video)


class JobFailed(EchodError):
    """A job ended with an error; whichever it is, the exit code is 1."""

    exit_code = 1


def outcome(video: Video) -> EchodError:
    """The error of a job that failed, or was cancelled by somebody else."""
    if video["status"] == "cancelled":
        return EchodError("cancelled", f"{video['id']} was cancelled")
    failure = video["error"] or {"code": "internal", "message": "the daemon gave no reason"}
    code = failure["code"] if failure["code"] in TABLE else "internal"
    why = explained(failure["message"], failure["code"])
    return JobFailed(code, f"{video['id']} failed: {failure['code']}: {why}")


def _follow(client: Client, video: Video, quiet: bool) -> Video:
    with Progress(quiet) as progress:
        client.tell = progress.note
        progress.note(f"{video['id']} accepted, {', '.join(_choices(video))}")
        for warning in _warnings(video):
            progress.note(warning)
        progress.show(video)
        for event in client.follow(video["id"]):
            video = event["video"]
            progress.show(video)
    return video


def _warnings(video: Video) -> list[str]:
    """What will show in the clip, of a daemon that says so."""
    return [f"warning: {warning['message']}" for warning in video["echod"].get("warnings", [])]


def _choices(video: Video) -> Iterator[str]:
    """What the clip is made with, the person's own choice or not."""
    yield t(f"seed {video['echod'].get('seed')}")
    preview = ": a quick preview, not EchoMimic" if video["model"] == "preview" else ""
    yield t(f"engine {video['model']}{preview}")
    if voice := video["echod"].get("voice"):
        yield t(f"voice {voice}")


def _cancel(client: Client, video: Video, quiet: bool) -> None:
    client.patience = 0
    try:
        client.cancel(video["id"])
    except EchodError as error:
        note(f"{video['id']} could not be cancelled and goes on: {explained(error.message, error.told)}")
    else:
        note(f"cancelled {video['id']}", quiet)


@contextmanager
def _spooled_stdin() -> Iterator[BinaryIO]:
    """What stdin holds, on disk: a pipe has no length, and cannot be read again when it must be sent again."""
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()  # its length is asked of the system
        yield file


@contextmanager
def _interrupt_deferred(quiet: bool) -> Iterator[list[int]]:
    """Keeps a first Ctrl-C for later, so that a job just being accepted is known and can be cancelled; not a second."""
    interrupted: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if interrupted:
            raise KeyboardInterrupt
        interrupted.append(number)
        note("will cancel the job once the daemon has taken it; Ctrl-C again leaves at once", quiet)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
