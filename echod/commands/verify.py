"""`echod verify`: what a clip says about itself, and whether its inputs make it again."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from echod.commands.common import as_json, connect, note, print_json, print_line, quiet, to_daemon
from echod.commands.making import made, outcome
from echod.commands.words import explained, t
from echod.errors import EchodError, invalid

if TYPE_CHECKING:
    from echod.client.client import Client
    from echod.inference.compare import Comparison
    from echod.provenance.credentials import Credentials
    from echod.provenance.manifest import Difference, Manifest

BUSY = (3, 5, 6)  # exit codes that mean the same for every command; whatever else goes wrong here is 2
readable = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
MAX_TITLE = 80  # characters of what the job is called
SHOWN = 12  # characters of a sha256
CONTENT = {
    "trainedAlgorithmicMedia": "made by a model",
    "compositeWithTrainedAlgorithmicMedia": "part photo, part model",
}


@click.command()
@click.argument("clip", type=readable)
@click.option("--portrait", type=readable, metavar="P", help="What it was made of: with --speech it is made again.")
@click.option("--speech", type=readable, metavar="S", help="And the recording.")
@click.option("--manifest", type=readable, metavar="M", help="Its manifest. [default: beside the clip, or in it]")
@click.option("--trust", type=readable, metavar="PEM", help="Certificates of authorities that are believed.")
@as_json
@quiet
@to_daemon
def verify(
    clip: Path,
    portrait: Path | None,
    speech: Path | None,
    manifest: Path | None,
    trust: Path | None,
    as_json: bool,
    quiet: bool,
    url: str | None,
    reconnect: float,
) -> None:
    """Tell what CLIP says about itself: who signed it, and whether it was changed since.

    With --portrait and --speech the daemon makes it again, and its frames are compared. Exits with 0 if all is well
    (intact; the same frames), with 1 if not (tampered with; different), with 2 where that cannot be told.
    """
    if (portrait is None) != (speech is None):
        raise click.UsageError("--portrait and --speech belong together: the clip is made again from both")
    if manifest and not portrait:
        raise click.UsageError("--manifest is for making the clip again: give --portrait and --speech too")
    with _telling():
        found = _read(clip, trust)
        if portrait is None or speech is None:
            _tell_credentials(clip, found, as_json)
            return
        said = _manifest(clip, manifest, found)
        with connect(url, reconnect, quiet) as client:
            again = _again(client, clip, said, [portrait, speech], quiet)
        _tell_again(clip, again, found, as_json)


@contextmanager
def _telling() -> Iterator[None]:
    """Whatever keeps the question from being answered exits with 2, but for what every command exits with."""
    from echod.inference.errors import InputError

    try:
        yield
    except InputError as error:
        raise invalid(str(error)) from None
    except EchodError as error:
        if error.exit_code in BUSY:
            raise
        raise invalid(f"cannot be verified: {explained(error.message, error.told)}") from None


# --- what it says


def _read(clip: Path, trust: Path | None) -> Credentials | None:
    from echod.provenance import credentials

    return credentials.read(clip, trust.read_bytes() if trust else _own_authority())


def _own_authority() -> bytes | None:
    """This machine's daemon's, where whoever asks may see it."""
    from echod import config
    from echod.provenance.certificate import AUTHORITY, OWN

    try:
        return (config.load().state_dir / OWN / AUTHORITY).read_bytes()
    except (OSError, EchodError):
        return None


def _tell_credentials(clip: Path, found: Credentials | None, as_json: bool) -> None:
    if found is None:
        raise invalid(
            f"{clip} says nothing about itself: it has no Content Credentials. It never had any, or somebody has "
            "rewritten the file, as most programs and sites do that convert or cut clips"
        )
    if as_json:
        print_json({"clip": str(clip), "credentials": _as_object(found)})
    else:
        for line in _in_words(found):
            print_line(t(line))
    if found.state == "tampered":
        raise click.exceptions.Exit(1)


def _as_object(found: Credentials) -> dict[str, Any]:
    return {
        "state": found.state,
        "signer": found.signer,
        "generator": found.generator,
        "source": found.source,
        "problems": list(found.problems),
        "manifest": found.manifest,
    }


def _in_words(found: Credentials) -> Iterator[str]:
    if found.state == "tampered":
        yield f"tampered with: {'; '.join(found.problems)}"
        yield f"what it says about itself does not hold for it: made by {found.generator}, signed by {found.signer}"
        return
    yield "intact: nothing was changed since it was signed"
    known = "trusted" if found.state == "trusted" else "not known here, so this may be anybody (--trust names who is)"
    yield f"signer {found.signer}: {known}"
    yield f"made with {found.generator}: {CONTENT.get(found.source or '', found.source or 'it does not say how')}"
    if (manifest := found.manifest) and isinstance(inputs := manifest.get("inputs"), dict):
        yield f"job {manifest.get('job')}, engine {manifest.get('engine')}, {manifest.get('frames')} frames"
        for name, sha256 in inputs.items():
            yield f"{name.removesuffix('_sha256')} sha256 {sha256}"


# --- whether it can be made again


def _manifest(clip: Path, named: Path | None, found: Credentials | None) -> Manifest:
    """As named, beside the clip, or in it."""
    beside = [
        clip.with_suffix(".manifest.json"),
        *([clip.with_name("manifest.json")] if clip.name == "clip.mp4" else []),
    ]
    for path in [named] if named else beside:
        if named or path.exists():
            try:
                manifest = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise invalid(f"the manifest {path} cannot be read: {error}") from None
            if not isinstance(manifest, dict):
                raise invalid(f"{path} is no manifest: it holds no object")
            return manifest
    if found and found.manifest:
        if found.state == "tampered":
            note(
                "the clip was tampered with since it was signed; what it says of how it was made is tried all the same"
            )
        return found.manifest
    raise invalid(
        f"there is no manifest: neither {beside[0]} nor in {clip}. `echod fetch ID --manifest` saves it for a job of "
        "this daemon; --manifest names one"
    )


def _of_other_inputs(said: Manifest, portrait: Path, speech: Path) -> Iterator[str]:
    """Which input is not the file that the manifest names; the frames may be the same all the same."""
    for name, path in (("portrait", portrait), ("speech", speech)):
        with path.open("rb") as file:
            now = hashlib.file_digest(file, "sha256").hexdigest()
        then = said["inputs"].get(f"{name}_sha256")
        if then != now:
            yield f"{path} is not the {name} that the clip was made of: its sha256 is {now}, and {then} was"


class Again(NamedTuple):
    """The clip made again as the job `id`, beside the one in question."""

    id: str
    compared: Comparison
    differences: list[Difference]


def _again(client: Client, clip: Path, said: Manifest, files: list[Path], quiet: bool) -> Again:
    from echod.inference.compare import compare, pictures
    from echod.provenance.manifest import differences, request

    asked = request(said)
    for line in _of_other_inputs(said, *files):
        note(line, quiet)
    for _ in pictures(clip):  # whether it is whole, before anybody works for it
        pass
    video = made(client, files, quiet, title=f"verifies {said.get('job')}"[:MAX_TITLE], **asked)
    if video["status"] != "completed":
        raise invalid(outcome(video).message)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "again.mp4"
        with path.open("wb") as file:
            client.content(video["id"], file)
        return Again(video["id"], compare(clip, path), list(differences(said, client.manifest(video["id"]))))


def _tell_again(clip: Path, again: Again, found: Credentials | None, as_json: bool) -> None:
    compared = again.compared
    if as_json:
        print_json(
            {
                "clip": str(clip),
                "result": "same" if compared.same else "different",
                "id": again.id,
                **compared._asdict(),
                "differences": [each._asdict() for each in again.differences],
                "credentials": _as_object(found) if found else None,
            }
        )
    else:
        for line in (_result(compared), *map(_difference, again.differences), *_unexplained(again, found)):
            print_line(t(line))
    if not compared.same:
        raise click.exceptions.Exit(1)


def _result(compared: Comparison) -> str:
    if compared.same:
        return f"same frames: all {compared.frames}"
    told = [f"{compared.frames} frames, and {compared.others} made again"] * (compared.frames != compared.others)
    if compared.sizes:
        told.append("{} pixels, and {} made again".format(*compared.sizes))
    if compared.psnr is not None:
        apart = f"by at most {compared.largest} of 255, PSNR {compared.psnr:.1f} dB"
        told.append(f"{compared.differing} of {min(compared.frames, compared.others)} frames differ, {apart}")
    return f"different: {'; '.join(map(t, told))}"


def _difference(each: Difference) -> str:
    group, _, name = each.name.partition(".")
    what = {"inputs": name.removesuffix("_sha256"), "options": name, "computed": name}.get(group) or " ".join(
        filter(None, ({"versions": "version of"}.get(group, group), name))
    )
    then, now = ("not named" if value is None else _short(value) for value in each[1:])
    return f"differs: {what}: {then} then, {now} now"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:SHOWN]}…" if re.fullmatch("[0-9a-f]{64}", text) else text


def _unexplained(again: Again, found: Credentials | None) -> Iterator[str]:
    if again.compared.same or again.differences:
        return
    changed = "; its credentials say so too" if found and found.state == "tampered" else ""
    yield f"inputs, options, weights, device and versions are the same: the clip was changed after it was made{changed}"
