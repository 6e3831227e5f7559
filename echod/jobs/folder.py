"""The directory of a job: its inputs, what its attempts write, its clip."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from echod.host import strays
from echod.host.directories import sync

PORTRAIT, SPEECH = INPUTS = ("portrait.png", "speech.flac")
BEFORE, END = "before.safetensors", "end.safetensors"  # the end of the clip it goes on from, and its own
MANIFEST = "manifest.json"  # what decided the clip's frames
BOARD = "board"  # a directory: the state of a clip in the making
PROGRESS = f"{BOARD}/progress"  # as it was shown last


def take_inputs(directory: Path, portrait: Path, speech: Path | None, before: Path | None = None) -> None:
    """Make the directory of a job and link its inputs into it, so that they are there after a power cut."""
    strays.make(directory)
    for source, name in ((portrait, PORTRAIT), (speech, SPEECH), (before, BEFORE)):
        if source is None:
            continue
        try:
            os.link(source, directory / name)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, directory / name)
            sync(directory / name)
    sync(directory, directory.parent)


def note_progress(directory: Path, progress: float) -> None:
    """For a daemon that finds a clip half made. Without a board nobody goes on with it."""
    part = directory / f"{PROGRESS}.part"
    with contextlib.suppress(OSError):
        part.write_text(str(progress))
        part.replace(directory / PROGRESS)


def noted_progress(directory: Path) -> float:
    try:
        progress = float((directory / PROGRESS).read_text())
    except (OSError, ValueError):
        return 0.0
    return progress if 0 <= progress <= 1 else 0.0


def tidy(directory: Path, completed: bool) -> None:
    """Remove what attempts left half done, and of a job without a clip everything but its inputs."""
    with contextlib.suppress(FileNotFoundError):  # deleted as soon as it had ended
        for path in directory.glob("*"):
            if path.name == BOARD:
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix == ".part" or path.name.startswith("stream.") or not (completed or path.name in INPUTS):
                path.unlink(missing_ok=True)


def size(directory: Path) -> int:
    try:
        return sum(path.stat().st_size for path in directory.glob("*"))
    except FileNotFoundError:  # being removed
        return 0
