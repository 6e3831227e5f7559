"""`echod submit`: a portrait and speech become a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from echod.commands.making import STDIN, make, makes_a_clip, readable


@click.command()
@click.argument("portrait", type=readable)
@click.argument("speech", type=readable)
@makes_a_clip
def submit(portrait: Path, speech: Path, **given: Any) -> None:
    """Make a clip of PORTRAIT speaking SPEECH, and print its path.

    Either may be - for stdin. Without -o the clip is saved here as SPEECH's name with .mp4, or with -1.mp4 and so on
    where that is taken. Ctrl-C cancels the job.
    """
    if portrait == speech == STDIN:
        raise click.UsageError("PORTRAIT and SPEECH cannot both come from stdin")
    make(portrait, speech, stem="speech" if speech == STDIN else speech.stem, **given)
