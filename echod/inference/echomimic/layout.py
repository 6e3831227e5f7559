"""The published layout: which file holds which module, which engine needs it, and what was recorded when it came.

A directory of weights holds these files under these names, and nothing else is read from it but two small ones:
`config.json`, the sizes of models that are not the published ones, and `echod-weights.json`, the record of a pull.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from ..download import digest
from ..errors import InputError
from .config import PRESETS, ModelConfig

REPOSITORY = "BadToBest/EchoMimic"
TAESD_REPOSITORY = "madebyollin/taesd"
CONFIG = "config.json"
RECORD = "echod-weights.json"


class WeightsError(InputError):
    """Weights that are missing, damaged or not those of the model. `code` is model_not_loaded unless given."""

    def __init__(self, message: str, code: str = "model_not_loaded") -> None:
        super().__init__(code, message)


class Part(NamedTuple):
    """One file: the module it holds, and the names it may have, the first being the one that is fetched."""

    module: str
    names: tuple[str, ...]

    def find(self, directory: Path) -> Path | None:
        return next((directory / name for name in self.names if (directory / name).is_file()), None)


# The base U-Net's own weights (sd-image-variations-diffusers/) are not needed: these files replace every one of them.
SHARED = (
    Part("reference_unet", ("reference_unet.pth",)),
    Part("face_locator", ("face_locator.pth",)),
    Part(
        "vae",
        (
            "sd-vae-ft-mse/diffusion_pytorch_model.safetensors",
            "sd-vae-ft-mse/diffusion_pytorch_model.bin",
        ),
    ),
    Part("whisper", ("audio_processor/whisper_tiny.pt",)),
)


# By itself, for every engine: what decodes in place of the VAE, which encodes the portrait all the same.
TAESD = Part("taesd", ("taesd/diffusion_pytorch_model.safetensors",))
SETS = (*PRESETS, TAESD.module)  # what can be pulled, listed and verified


def on_hub(name: str) -> tuple[str, str]:
    """Repository and name there of a file."""
    folder, _, rest = name.partition("/")
    return (TAESD_REPOSITORY, rest) if folder == TAESD.module else (REPOSITORY, name)


def parts(engine: str) -> tuple[Part, ...]:
    """The files of one of SETS, all of them. Raises WeightsError for an engine that is none of the table's."""
    if engine == TAESD.module:
        return (TAESD,)
    if engine not in PRESETS:
        raise WeightsError(f"there are no weights for an engine {engine!r}; engines with weights: {', '.join(PRESETS)}")
    preset = PRESETS[engine]
    return (Part("denoising_unet", (preset.denoising,)), Part("motion_module", (preset.motion,)), *SHARED)


def missing(directory: Path, engine: str) -> list[str]:
    """Names of the files that the engine needs and the directory lacks."""
    return [part.names[0] for part in parts(engine) if part.find(directory) is None]


def require(directory: Path, engine: str) -> dict[str, Path]:
    """Module -> file. Raises WeightsError naming every file that is not there."""
    if lacking := missing(directory, engine):
        raise WeightsError(f"{directory} lacks {', '.join(lacking)}. {remedy(engine, directory)}")
    return {part.module: path for part in parts(engine) if (path := part.find(directory))}


def remedy(engine: str, directory: Path, *wrong: Path) -> str:
    """The next step after anything is wrong with a directory of weights, that is with the files `wrong` of it."""
    if (directory / CONFIG).exists():
        return f"The sizes are those of {directory / CONFIG}; write that set of weights anew, with its files together"
    if wrong and all(as_fetched(directory, path) for path in wrong):
        return (
            "It is as `echod weights pull` fetched it: what is published differs from what this version of echod "
            "expects; please report this message"
        )
    return f"`echod weights pull {engine} --weights {directory}` fetches what is missing or wrong"


def as_fetched(directory: Path, path: Path) -> bool:
    """Whether a file has the content that a pull recorded. Reads all of it."""
    try:
        entry = read_record(directory).get(path.relative_to(directory).as_posix())
    except WeightsError:
        return False
    return entry is not None and path.is_file() and path.stat().st_size == entry.size and digest(path) == entry.sha256


def sizes(directory: Path) -> tuple[ModelConfig, str]:
    """The models' sizes, and where they are from. Never guessed from tensors."""
    path = directory / CONFIG
    if not path.exists():
        return ModelConfig(), "the published sizes"
    try:
        return ModelConfig.read(path), str(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be used: {error}; without it the sizes are the published ones") from error


def made_for_trials(directory: Path) -> bool:
    """Whether these are other weights than the published ones: a `config.json` names the set they belong to."""
    try:
        return bool(json.loads((directory / CONFIG).read_text()).get("set"))
    except (OSError, ValueError, AttributeError):
        return False


@dataclass(frozen=True)
class Entry:
    """What a pull recorded of one file. `etag` is the hub's name for its content, its sha256 for all but small ones."""

    size: int
    sha256: str
    etag: str
    revision: str


def read_record(directory: Path) -> dict[str, Entry]:
    """Name -> entry; empty for weights that came some other way."""
    path = directory / RECORD
    try:
        return {name: Entry(**entry) for name, entry in json.loads(path.read_text())["files"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); remove it and pull again") from error


def write_record(directory: Path, record: Mapping[str, Entry]) -> None:
    """Whole or not at all, whatever dies."""
    path, partial = directory / RECORD, directory / f"{RECORD}.part"
    entries = {name: asdict(entry) for name, entry in sorted(record.items())}
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"repository": REPOSITORY, "files": entries}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class Row(NamedTuple):
    """One line of `echod weights list`. `state` is ok, missing, or what is wrong with the size."""

    engine: str
    file: str
    size: int | None
    state: str


def inventory(directory: Path, engines: tuple[str, ...] = SETS) -> Iterator[Row]:
    """What is there for each engine, looked at from outside: names and sizes."""
    record = read_record(directory)
    for engine in engines:
        for part in parts(engine):
            path = part.find(directory)
            if path is None:
                yield Row(engine, part.names[0], None, "missing")
                continue
            name, size = path.relative_to(directory).as_posix(), path.stat().st_size
            yield Row(engine, name, size, wrong_size(record.get(name), size) or "ok")


def wrong_size(entry: Entry | None, size: int) -> str | None:
    if entry is None or entry.size == size:
        return None
    return f"{size} bytes, but {entry.size} were fetched"
