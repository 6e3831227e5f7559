"""`echod weights`: fetch, list and verify model files, or make small random ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from echod.commands.common import as_json, note, print_json, print_line, print_path, quiet
from echod.commands.tables import table_lines
from echod.commands.words import t
from echod.config import load
from echod.errors import EchodError
from echod.host.service import as_service, become_owner

if TYPE_CHECKING:
    from echod.inference.download import Source
    from echod.speech.local.registry import Published

MAIN = "echomimic"

directory = click.Path(file_okay=False, path_type=Path)
engine = click.argument("engine", metavar="[ENGINE]", default=MAIN)
in_directory = click.option(
    "--weights", "weights_dir", type=directory, metavar="DIR", help="Where the model files are. [else weights_dir]"
)


@click.group()
def weights() -> None:
    """Fetch the engines' model files, and look after them."""


@weights.command()
@click.argument("what", metavar="[WHAT]", default=MAIN)
@in_directory
@quiet
def pull(what: str, weights_dir: Path | None, quiet: bool) -> None:
    """Fetch model files, and print where they are.

    WHAT is an engine (echomimic unless given); taesd, the other decoder; whisper:NAME, which hears (tiny.en, base,
    small ...); or voice:NAME, a further voice of hibari's (emma ...). Only what is missing or damaged is fetched; a
    pull that broke off goes on where it stood. HF_ENDPOINT names a mirror of the hub, where engines and voices are,
    HF_TOKEN a token.

    Where the machine's service is installed, root fetches for it: into its directory, as its account.
    """
    with _refusals():
        where = _directory(weights_dir)
        become_owner(where)
        _calm(quiet)
        from echod.speech.local.registry import KINDS

        if what.partition(":")[0] in KINDS:
            where = _pull_file(where, what, quiet)
        else:
            from echod.inference.echomimic.hub import pull

            pull(where, what, tell=lambda line: note(line, quiet))
    print_path(where)


def _pull_file(directory: Path, what: str, quiet: bool) -> Path:
    """One file for hearing or speaking."""
    from echod.inference.download import alone, digest, fetch
    from echod.speech.local.registry import published

    wanted = published(what)
    path = directory / wanted.file
    with alone(directory):
        if path.is_file():
            if digest(path) == wanted.sha256:
                note(f"{wanted.file}: there and intact", quiet)
                return path
            note(f"{wanted.file}: not what is published, will be replaced", quiet)
        fetch(_source(wanted), path, lambda line: note(line, quiet))
    return path


def _source(wanted: Published) -> Source:
    from huggingface_hub.constants import ENDPOINT

    from echod.inference.download import Source
    from echod.speech.local.registry import on_mirror

    url, elsewhere = wanted.url, "pull again later"
    if wanted.mirrored:
        url, elsewhere = on_mirror(url, ENDPOINT), f"{elsewhere}, or name a mirror with HF_ENDPOINT"
    place = url.removesuffix(urlsplit(url).path)
    return Source(wanted.file, url, place, wanted.sha256, wanted.sha256, wanted.size, elsewhere=elsewhere)


@weights.command("list")
@in_directory
@as_json
def list_(weights_dir: Path | None, as_json: bool) -> None:
    """Show which files each engine needs and which are there. `verify` looks into them."""
    with _refusals():
        from echod.inference.echomimic.layout import inventory

        where = _directory(weights_dir)
        rows = list(inventory(where))
    if as_json:
        print_json({"directory": str(where), "engines": _by_engine(rows)})
        return
    lines = [(row.engine, row.file, _megabytes(row.size), t(row.state)) for row in rows]
    for line in table_lines(("ENGINE", "FILE", "SIZE", "STATE"), lines):
        print_line(line)
    note(f"in {where}")


@weights.command()
@engine
@in_directory
@as_json
def verify(engine: str, weights_dir: Path | None, as_json: bool) -> None:
    """Check the files of ENGINE (echomimic unless given). Exits with 1 where anything is wrong.

    Names, shapes and values are compared with the model, sizes and sha256 with those recorded when they were fetched.
    """
    with _refusals():
        from echod.inference.echomimic.layout import remedy
        from echod.inference.echomimic.weights import verify

        where = _directory(weights_dir)
        verdicts = verify(where, engine)
        sound = not any(verdict.problems for verdict in verdicts)
    if as_json:
        print_json({"directory": str(where), "engine": engine, "ok": sound, "files": [v._asdict() for v in verdicts]})
    else:
        for verdict in verdicts:
            print_line(f"{verdict.file}: {'; '.join(map(t, verdict.problems)) or _praise(verdict)}")
    if not sound:
        note(remedy(engine, where, *(where / verdict.file for verdict in verdicts if verdict.problems)))
        sys.exit(1)


@weights.command()
@click.argument("kind", type=click.Choice(["tiny"]))
@click.argument("directory", type=directory, metavar="DIR")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Other seeds, other weights.")
def init(kind: str, directory: Path, seed: int) -> None:
    """Make small random models in an empty or new directory, for trying the whole path without a download.

    They make coloured noise; clips made with them say that the weights were not EchoMimic's.
    """
    with _refusals():
        from echod.inference.echomimic.tiny import init_tiny

        init_tiny(directory, seed)
    print_path(directory)


@contextmanager
def _refusals() -> Iterator[None]:
    """What the library refuses, as errors of the command line."""
    from echod.inference.errors import InputError

    try:
        yield
    except InputError as error:
        raise EchodError(error.code, str(error)) from error


def _directory(given: Path | None) -> Path:
    return load({"weights_dir": given}, as_service()).weights_dir


def _calm(quiet: bool) -> None:
    """huggingface_hub draws a bar for each file, and tells of every new attempt; where nobody watches, no bars."""
    import logging

    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if quiet or sys.stderr is None or not sys.stderr.isatty():
        disable_progress_bars()
    if quiet:
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _by_engine(rows: list[Any]) -> dict[str, Any]:
    engines: dict[str, Any] = {}
    for row in rows:
        entry = engines.setdefault(row.engine, {"complete": True, "bytes": 0, "files": []})
        entry["complete"] &= row.state == "ok"
        entry["bytes"] += row.size or 0
        entry["files"].append({"file": row.file, "size": row.size, "state": row.state})
    return engines


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.1f} MB"


def _praise(verdict: Any) -> str:
    compared = "as fetched" if verdict.recorded else "no record of a pull to compare with"
    return t(f"ok, {_megabytes(verdict.size)}, {verdict.dtype}, {compared}")
