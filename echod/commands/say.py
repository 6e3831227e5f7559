"""`echod say`: a portrait and a text become a clip."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from echod.commands.making import STDIN, make, makes_a_clip, readable

MAX_STEM = 40  # characters of the text in a file name


@click.command()
@click.argument("portrait", type=readable)
@click.argument("text")
@click.option("--voice", metavar="VOICE", help="Who speaks, as in `echod voices`. [default: the daemon's voice]")
@makes_a_clip
def say(portrait: Path, text: str, voice: str | None, **given: Any) -> None:
    """Make a clip of PORTRAIT saying TEXT, and print its path.

    Either may be - for stdin. Without -o the clip is saved here under the first words of TEXT with .mp4, or with -1.mp4
    and so on where that is taken. Ctrl-C cancels the job.
    """
    if portrait == STDIN and text == "-":
        raise click.UsageError("PORTRAIT and TEXT cannot both come from stdin")
    text = _words(sys.stdin.buffer.read() if text == "-" else text.encode(errors="surrogateescape"))
    make(portrait, stem=_stem(text), prompt=text, voice=voice, **given)


def _words(encoded: bytes) -> str:
    try:
        text = encoded.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"TEXT must be UTF-8; byte {error.start} of it is not") from None
    if not text:
        raise click.UsageError("TEXT is empty: there is nothing to say")
    return text


def _stem(text: str) -> str:
    """The first words, as they may stand in a file name: letters and digits of any script, joined by hyphens."""
    stem = "-".join(re.findall(r"\w+", re.sub("['’]", "", text.lower()))) or "speech"
    if len(stem) > MAX_STEM:
        stem = stem[: MAX_STEM + 1].rpartition("-")[0] or stem[:MAX_STEM]
    return stem
