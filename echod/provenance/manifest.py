"""The manifest of a clip: everything that decides its frames, beside it as `manifest.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from echod import __version__
from echod.errors import invalid
from echod.jobs.folder import MANIFEST
from echod.jobs.job import ClipOptions

if TYPE_CHECKING:
    from echod.inference.contract import Engine, Options, Portrait

Manifest: TypeAlias = dict[str, Any]

# Software that numbers and pictures pass through on their way into a clip.
SOFTWARE = (
    "av", "diffusers", "facenet-pytorch", "numpy", "openai-whisper", "opencv-python-headless", "pillow", "torch",
    "torchvision",
)  # fmt: skip
UNDECISIVE = ("job", "attempt")  # of two clips with the same frames these may differ


def describe(
    *,
    job: str,
    engine: Engine,
    options: ClipOptions,
    chosen: Options,
    inputs: Mapping[str, str],
    portrait: Portrait,
    weights: Mapping[str, str],
    frames: int,
) -> Manifest:
    """The manifest of a clip. `inputs` and `weights` are sha256 by name; defaults of the engine are filled in.

    `chosen` is what the engine was asked for, of all the `options` of the job.
    """
    used = engine.settle(chosen)
    return {
        "job": job,
        "ai_generated": True,
        "engine": engine.name,
        "inputs": {f"{name}_sha256": sha256 for name, sha256 in inputs.items()},
        "options": msgspec.structs.asdict(options) | {"steps": used.steps, "guidance": used.guidance},
        "crop": list(portrait.crop),
        "faces": portrait.faces,
        "frames": frames,
        "weights": dict(weights),
        "computed": dict(engine.computed),
        "versions": {"echod": __version__, **_versions()},
    }


@cache
def _versions() -> dict[str, str]:
    """Of what is installed: some of it may be, under another name."""
    found = {}
    for name in SOFTWARE:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def write(manifest: Manifest, directory: Path) -> None:
    """It appears complete or not at all."""
    part = directory / f"{MANIFEST}.part"
    part.write_text(json.dumps(manifest, indent=2) + "\n")
    part.replace(directory / MANIFEST)


class Difference(NamedTuple):
    """One thing that two manifests say differently, by its place in them; None: not said."""

    name: str
    then: Any
    now: Any


def differences(then: Manifest, now: Manifest) -> Iterator[Difference]:
    """What decides the frames and differs, inputs and options first."""
    one, other = dict(_flat(then)), dict(_flat(now))
    for name in dict.fromkeys((*one, *other)):
        if name.partition(".")[0] not in UNDECISIVE and one.get(name) != other.get(name):
            yield Difference(name, one.get(name), other.get(name))


def _flat(value: Manifest, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, dict):
            yield from _flat(each, f"{path}{name}.")
        else:
            yield f"{path}{name}", each


def request(manifest: Manifest) -> dict[str, Any]:
    """What a job is asked for that makes the same clip again, by the names that clients use.

    EchodError invalid_request for what is no manifest of a clip, or has options that this version does not know.
    """
    try:
        options, engine = dict(manifest["options"]), manifest["engine"]
        for name in ("max_picture", "joins", "chained"):  # which clients cannot choose
            options.pop(name, None)
        if unknown := sorted(options.keys() - set(ClipOptions.__struct_fields__)):
            raise invalid(f"echod {__version__} does not know the options {', '.join(unknown)} of this clip")
        msgspec.convert(options, ClipOptions)
        size = f"{options.pop('width')}x{options.pop('height')}"
        if not isinstance(engine, str) or not isinstance(manifest["inputs"], dict):
            raise TypeError
    except (KeyError, TypeError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise invalid(f"this is no manifest of a clip that echod made ({error or 'it lacks what such have'})") from None
    if options.get("crop"):  # as one way to say what is shown; the other is the dilation
        options.pop("dilation", None)
        options["crop"] = ",".join(map(str, options["crop"]))
    given = {name: value for name, value in options.items() if value is not None}
    return {"engine": engine, "size": size, **given}
