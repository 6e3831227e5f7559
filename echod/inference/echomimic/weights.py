"""Loading a directory of weights, and verifying one.

Every tensor of every module comes from a file, under its name and in its shape, or loading ends: no layer is ever left
random. Names beyond the module's own end it too, except in the denoising net's two files, where the original lets them
be. Modules are built without memory (torch's meta device) and files are mapped, so that what is held is one copy in the
run's dtype. Pickles are opened with `weights_only`, which runs none of what they may contain.
"""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file
from torch import Tensor, nn
from whisper.model import AudioEncoder

from ..download import digest
from .config import ModelConfig
from .denoiser import DenoisingUNet
from .face_locator import FaceLocator
from .layout import TAESD, WeightsError, made_for_trials, parts, read_record, remedy, require, sizes, wrong_size
from .mapped import let_go
from .motion import PositionEncoder, position_table
from .pictures import NotFiniteError
from .reference import ReferenceUNet

Tensors: TypeAlias = Mapping[str, Tensor]
Shapes: TypeAlias = Mapping[str, torch.Size]

log = logging.getLogger("echod.weights")

NAMED = 4  # keys that a message names
READ = 1 << 28  # bytes of mapped files that are held before they are let go
PIECE = 1 << 16  # numbers that are summed at once: they stay in the processor's cache
NET = ("denoising_unet", "motion_module")  # one net in two files
# How files begin; before torch 1.6 torch.save wrote pickles, the first of them a number that stands for the format.
ZIP, OLD, LFS = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"version https://git-lfs"
LEGACY_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Models:
    """The loaded modules. `tiny`: these are not the published weights, and clips made with them have to say so.

    With `taesd` that one decodes, and the VAE encodes only.
    """

    reference: ReferenceUNet
    denoiser: DenoisingUNet
    face_locator: FaceLocator
    vae: AutoencoderKL
    whisper: AudioEncoder
    config: ModelConfig
    tiny: bool
    taesd: AutoencoderTiny | None = None

    @property
    def decodes(self) -> AutoencoderKL | AutoencoderTiny:
        """What makes pictures of latents."""
        return self.vae if self.taesd is None else self.taesd

    def fingerprint(self) -> str:
        """Other weights have another one, and so may the same in another dtype or on another kind of device."""
        tiny = () if self.taesd is None else (self.taesd,)
        nets = (self.reference, self.denoiser, self.face_locator, self.vae, self.whisper, *tiny)
        sums = [_sum(tensor) for net in nets for tensor in net.state_dict().values()]
        return blake2b(repr(sums).encode(), digest_size=8).hexdigest()


def _sum(tensor: Tensor) -> float:
    """In double precision, of which the CPU never holds a copy of all."""
    pieces = torch.split(tensor.flatten(), PIECE) if tensor.device.type == "cpu" else (tensor,)
    return sum(float(piece.double().sum()) for piece in pieces)


def build(config: ModelConfig, *, taesd: bool = False) -> dict[str, Any]:
    """All modules, without memory for their tensors."""
    with torch.device("meta"):
        return {
            **({"taesd": AutoencoderTiny(**config.taesd)} if taesd else {}),
            "reference_unet": ReferenceUNet(config.unet),
            "denoising_unet": DenoisingUNet(config.unet),
            "face_locator": FaceLocator(config.face_locator),
            "vae": AutoencoderKL(**config.vae),
            "whisper": AudioEncoder(*asdict(config.whisper).values()),
        }


def load(
    directory: Path,
    engine: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    tick: Callable[[], None] = lambda: None,
    decoder: str = "vae",
) -> Models:
    """The models of an engine, on a device and in a dtype; the audio encoder stays fp32 and casts on the fly.

    `decoder` is one of `limits.DECODERS`. `tick` is called after every tensor: from a slow disk all of them may take
    minutes.
    Raises WeightsError naming the file, the first keys at fault with their shapes, and what to do.
    """
    paths = require(directory, engine) | (require(directory, TAESD.module) if decoder == TAESD.module else {})
    config, source = sizes(directory)
    found = {module: _read_or_refuse(module, path, config, engine, directory) for module, path in paths.items()}
    modules = build(config, taesd=TAESD.module in paths)
    leave_out(found, paths, modules)
    for module in found:
        if problems := list(misfits(module, found, modules)):
            raise _misfit(paths[module], problems, source, engine, directory)
    # Whichever of its two files has a tensor of the denoising net will do; where both do, its own goes first.
    own = found["denoising_unet"].keys()
    found["denoising_unet"] = {**found.pop("motion_module"), **found["denoising_unet"]}
    read = 0

    def filled(tensor: Tensor) -> None:
        nonlocal read
        read += tensor.nbytes
        if read > READ:
            let_go(paths.values())
            read = 0
        tick()

    for name, net in modules.items():
        if unfit := fill(net, found.pop(name), device, torch.float32 if name == "whisper" else dtype, filled):
            file = "motion_module" if name == "denoising_unet" and unfit[0] not in own else name
            problem = f"not finite in {dtype}: {_some(unfit)}"
            raise _misfit(paths[file], [problem], source, engine, directory, code=NotFiniteError.code)
    return Models(
        reference=modules["reference_unet"],
        denoiser=modules["denoising_unet"],
        face_locator=modules["face_locator"],
        vae=modules["vae"],
        whisper=modules["whisper"],
        config=config,
        tiny=made_for_trials(directory),
        taesd=modules.get("taesd"),
    )


def fill(
    module: nn.Module,
    tensors: Tensors,
    device: str,
    dtype: torch.dtype,
    filled: Callable[[Tensor], None] = lambda tensor: None,
) -> list[str]:
    """Give a module its tensors, as copies that no change of a file can reach. Returns the keys that are not finite.

    `filled` hears of every tensor of a file that has been copied.
    """
    unfit: list[str] = []
    cast: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        cast[key] = tensor.to(device).to(dtype, copy=True)  # on a GPU it is cast there, which is faster
        if not is_finite(cast[key]):
            unfit.append(key)
        filled(tensor)
    module.load_state_dict(cast, strict=False, assign=True)
    for part in module.modules():
        if isinstance(part, PositionEncoder):
            _, positions, channels = part.get_buffer("pe").shape
            part.pe = position_table(positions, channels).to(device)
    left = [name for name, held in chain(module.named_parameters(), module.named_buffers()) if held.is_meta]
    assert not left, left
    module.eval().requires_grad_(False)
    return unfit


def is_finite(tensor: Tensor) -> bool:
    """Reads a tensor once and holds nothing of its size: a number that is not finite is among the extremes."""
    return all(bool(extreme.isfinite()) for extreme in tensor.aminmax()) if tensor.numel() else True


def is_position_table(key: str) -> bool:
    """Tables that follow from their size are computed, whatever a file says."""
    return key.endswith(".pos_encoder.pe")


def is_motion(key: str) -> bool:
    return ".motion_modules." in key or key.startswith("motion_modules.")


# --- reading -----------------------------------------------------------------------------------------------------


def read(module: str, path: Path, config: ModelConfig) -> dict[str, Tensor]:
    """The tensors of one file, mapped rather than read, under the module's names. Raises ValueError with the reason."""
    content = _open(path)
    if module == "whisper":
        content = _encoder(content, config)
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ValueError("is no plain table of tensors")
    return {_modern(key) if module == "vae" else key: tensor for key, tensor in content.items()}


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        begins = file.read(len(LFS))
    if begins == LFS:
        raise ValueError("is a git-lfs pointer, not what it points to")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if not begins.startswith((ZIP, OLD)):
            raise ValueError(f"it begins with {begins[:4]!r}, not like what torch.save writes")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=begins.startswith(ZIP))
    except pickle.UnpicklingError:
        raise ValueError("holds more than tensors, and opening it could run code; it was not opened") from None
    except Exception as error:  # both libraries raise what they like about damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"cannot be read; it is cut off, damaged or no file of tensors ({reason})") from error


def _encoder(content: Any, config: ModelConfig) -> dict[str, Any]:
    """The encoder's part of a file in OpenAI's format; the decoder's is not needed."""
    try:
        heads, state = content["dims"]["n_audio_head"], content["model_state_dict"]
        kept = {key.removeprefix("encoder."): state[key] for key in state if not key.startswith("decoder.")}
    except (KeyError, TypeError, AttributeError):
        raise ValueError("is no Whisper in OpenAI's format (dims and model_state_dict)") from None
    if heads != config.whisper.n_audio_head:  # all other sizes show in names and shapes
        raise ValueError(f"is another Whisper: n_audio_head is {heads}, expected {config.whisper.n_audio_head}")
    return kept


def _modern(key: str) -> str:
    """The VAE's older attention names, as diffusers renames them."""
    old = rf"(\.attentions\.\d+\.)({'|'.join(LEGACY_ATTENTION)})\."
    return re.sub(old, lambda match: f"{match[1]}{LEGACY_ATTENTION[match[2]]}.", key)


def _read_or_refuse(module: str, path: Path, config: ModelConfig, engine: str, directory: Path) -> dict[str, Tensor]:
    try:
        return read(module, path, config)
    except ValueError as error:
        raise WeightsError(f"{path} {error}. {remedy(engine, directory, path)}") from error


# --- checking ----------------------------------------------------------------------------------------------------


def leave_out(found: dict[str, dict[str, Tensor]], paths: Mapping[str, Path], modules: Mapping[str, nn.Module]) -> None:
    """Take out of the denoising net's files what is not used: position tables, and names that the net does not have.

    The original asks nothing of such names; what a training run left in a checkpoint does no harm.
    """
    shapes = _shapes(modules["denoising_unet"])
    for module in found.keys() & set(NET):
        if surplus := [f"{key} {tuple(tensor.shape)}" for key, tensor in found[module].items() if key not in shapes]:
            log.warning("%s: left out, not of the model: %s", paths[module], _some(surplus))
        found[module] = {
            key: tensor for key, tensor in found[module].items() if key in shapes and not is_position_table(key)
        }


def misfits(module: str, found: Mapping[str, Tensors], modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """What is wrong with the names, shapes and dtypes in a module's file."""
    tensors, held = found[module], set(found[module])
    if module in NET:
        shapes = _shapes(modules["denoising_unet"])
        due = [key for key in shapes if is_motion(key) == (module == "motion_module") and not is_position_table(key)]
        held |= set(found.get("denoising_unet", ())) | set(found.get("motion_module", ()))
    else:
        shapes = _shapes(modules[module])
        due = list(shapes)
    if missing := [f"{key} {tuple(shapes[key])}" for key in due if key not in held]:
        yield f"{len(missing)} of {len(due)} tensors missing: {_some(missing)}"
    if surplus := [f"{key} {tuple(tensor.shape)}" for key, tensor in tensors.items() if key not in shapes]:
        yield f"{len(surplus)} tensors too many: {_some(surplus)}"
    if other := [
        f"{key}: expected {tuple(shapes[key])}, found {tuple(tensor.shape)}"
        for key, tensor in tensors.items()
        if key in shapes and tensor.shape != shapes[key]
    ]:
        yield f"{len(other)} of another shape: {_some(other)}"
    if whole := [f"{key} is {tensor.dtype}" for key, tensor in tensors.items() if not tensor.is_floating_point()]:
        yield f"{len(whole)} not of floating point: {_some(whole)}"
    # Training starts with zeros here; a checkpoint that still has them has no motion.
    if idle := [
        key
        for key, tensor in tensors.items()
        if key.endswith(".temporal_transformer.proj_out.weight") and not tensor.any()
    ]:
        yield f"all zero, so that nothing would move: {_some(idle)}"


def _shapes(module: nn.Module) -> Shapes:
    return {key: tensor.shape for key, tensor in module.state_dict().items()}


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more


def _misfit(
    path: Path, problems: Sequence[str], source: str, engine: str, directory: Path, code: str = "model_not_loaded"
) -> WeightsError:
    told = f"{path} does not fit {source}: {'; '.join(problems)}. {remedy(engine, directory, path)}"
    return WeightsError(told, code)


# --- verifying ---------------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What `verify` found about one file. `recorded` says whether a pull left a size and sha256 to compare with."""

    file: str
    size: int | None
    dtype: str | None
    recorded: bool
    problems: list[str]


def verify(directory: Path, engine: str) -> list[Verdict]:
    """Every file of an engine against the model and the record of its pull: all there is to find, not only the first.

    Raises WeightsError where the sizes or the record cannot be read, or there is no such engine.
    """
    record, (config, _) = read_record(directory), sizes(directory)
    found: dict[str, dict[str, Tensor]] = {}
    paths: dict[str, Path] = {}
    unreadable: dict[str, str] = {}
    for part in parts(engine):
        path = part.find(directory)
        try:
            if path is not None:
                paths[part.module] = path
                found[part.module] = read(part.module, path, config)
        except ValueError as error:
            unreadable[part.module] = str(error)
    modules = build(config, taesd=TAESD.module in found)
    leave_out(found, paths, modules)
    verdicts = []
    for part in parts(engine):
        path = paths.get(part.module)
        if path is None:
            verdicts.append(Verdict(part.names[0], None, None, False, ["missing"]))
            continue
        name, size = path.relative_to(directory).as_posix(), path.stat().st_size
        entry, tensors = record.get(name), found.get(part.module, {})
        problems = [problem for problem in (wrong_size(entry, size), unreadable.get(part.module)) if problem]
        if entry and entry.size == size and (now := digest(path)) != entry.sha256:
            problems.append(f"sha256 is {now}, but {entry.sha256} was fetched")
        problems += misfits(part.module, found, modules) if part.module in found else ()
        if unfit := [key for key, tensor in tensors.items() if not is_finite(tensor)]:
            problems.append(f"{len(unfit)} not finite: {_some(unfit)}")
        verdicts.append(Verdict(name, size, _dtypes(tensors), entry is not None, problems))
    return verdicts


def _dtypes(tensors: Tensors) -> str | None:
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    return ", ".join(kinds) or None
