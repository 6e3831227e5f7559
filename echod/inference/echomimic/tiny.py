"""Small random models in the published layout, for trying the whole path. What they make is noise, and says so.

A tensor's values follow from its module, its name and the seed alone, scaled so that signals neither die nor explode.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from whisper.model import sinusoids

from .config import PRESETS, VAE, FaceLocatorConfig, ModelConfig, UNetConfig, WhisperConfig
from .layout import CONFIG, SHARED, TAESD, WeightsError
from .motion import position_table
from .weights import LEGACY_ATTENTION, build, is_motion, is_position_table

TINY = ModelConfig(
    unet=UNetConfig(block_out_channels=(32, 64, 64, 64), cross_attention_dim=48),
    face_locator=FaceLocatorConfig(conditioning_embedding_channels=32, block_out_channels=(16, 32, 48, 64)),
    whisper=WhisperConfig(n_audio_state=48),
    taesd={"encoder_block_out_channels": [16] * 4, "decoder_block_out_channels": [16] * 4},
    vae={**VAE, "block_out_channels": [32, 32, 64, 64], "layers_per_block": 1, "sample_size": 128},
)

# (what a parameter's name contains, its gain); a later row wins
GAINS = (
    ("to_q.weight", 1.4),
    ("to_k.weight", 1.4),
    ("attn.query.weight", 1.4),
    ("attn.key.weight", 1.4),
    ("attn2.to_out.0.weight", 0.4),
    ("time_emb_proj.weight", 0.5),
    ("ff.net.2.weight", 0.7),
    ("conv2.weight", 0.7),
)


def init_tiny(directory: Path, seed: int = 0) -> None:
    """Write models of tiny sizes for every engine. Raises WeightsError where something is there already."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise WeightsError(f"{directory} is not empty; it was left as it is", "invalid_request")
    write(directory, TINY, "tiny", seed)


def write(directory: Path, config: ModelConfig, name: str, seed: int = 0) -> None:
    """Write models of the given sizes. The set's name in `config.json` marks them as not the published ones."""
    states = {module: dict(tensors(module, net, seed)) for module, net in build(config, taesd=True).items()}
    denoising = states.pop("denoising_unet")
    for preset in {preset.denoising: preset for preset in PRESETS.values()}.values():
        _save(directory / preset.motion, {key: value for key, value in denoising.items() if is_motion(key)})
        _save(directory / preset.denoising, {key: value for key, value in denoising.items() if not is_motion(key)})
    encoder = {f"encoder.{key}": value for key, value in states.pop("whisper").items()}
    paths = {part.module: directory / part.names[0] for part in (*SHARED, TAESD)}
    _save(paths["whisper"], {"dims": asdict(config.whisper), "model_state_dict": encoder})
    _save(paths["vae"], {_legacy(key): value for key, value in states.pop("vae").items()})
    for module, state in states.items():
        _save(paths[module], state)
    (directory / CONFIG).write_text(json.dumps({"set": name, **config.as_json()}, indent=1))


def tensors(module: str, net: nn.Module, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Values for everything that a module's checkpoint holds."""
    norms = {name for name, part in net.named_modules() if isinstance(part, nn.GroupNorm | nn.LayerNorm)}
    for key, tensor in net.state_dict().items():
        if is_position_table(key):
            yield key, position_table(*tensor.shape[1:])
        elif key == "positional_embedding":  # the published file has it rounded
            yield key, sinusoids(*tensor.shape).half().float()
        else:
            name = f"{module}:{'encoder.' if module == 'whisper' else ''}{key}"  # as the checkpoint has it
            drawn = _draw(f"{seed}:{name}" if seed else name, tensor.shape)
            yield key, _scaled(key, drawn, norm=key.rpartition(".")[0] in norms)


def _draw(name: str, shape: torch.Size) -> Tensor:
    values = np.random.RandomState(crc32(name.encode())).standard_normal(tuple(shape))
    return torch.from_numpy(values.astype(np.float32))


def _scaled(key: str, drawn: Tensor, *, norm: bool) -> Tensor:
    if norm and key.endswith("weight"):
        return 1 + 0.2 * drawn
    if norm or drawn.ndim < 2:
        return 0.1 * drawn
    gain = next((gain for part, gain in reversed(GAINS) if part in key), 1.0)
    return torch.from_numpy((gain * drawn.numpy() / np.sqrt(drawn[0].numel())).astype(np.float32))


def _legacy(key: str) -> str:
    """The VAE's attention under the older names, as in the published file."""
    for old, new in LEGACY_ATTENTION.items():
        key = key.replace(f".{new}.", f".{old}.")
    return key


def _save(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
