"""A directory of recorded tensors, and the models they were recorded with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from echod.inference.echomimic import tiny
from echod.inference.echomimic.config import ModelConfig
from echod.inference.echomimic.weights import Models, build, fill

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Golden:
    """The set in `directory`; what it lacks is None."""

    directory: Path

    @cached_property
    def config(self) -> ModelConfig:
        return ModelConfig.read(self.directory / "config.json")

    def tensors(self, name: str) -> dict[str, Tensor] | None:
        path = self.directory / f"{name}.safetensors"
        return load_file(path) if path.exists() else None

    def facts(self, name: str) -> Any:
        path = self.directory / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def pixels(self, name: str) -> Any:
        return np.asarray(Image.open(self.directory / "inputs" / name))

    def models(self, dtype: torch.dtype = torch.float32) -> Models:
        """From `weights/`, or from the names of the parameters where there is none."""
        modules = build(self.config)
        for name, module in modules.items():
            tensors = self._recorded(name) if (self.directory / "weights").is_dir() else keyed(name, module)
            unfit = fill(module, tensors, "cpu", torch.float32 if name == "whisper" else dtype)
            assert not unfit, unfit
        names = {"reference_unet": "reference", "denoising_unet": "denoiser"}
        parts: dict[str, Any] = {names.get(name, name): module for name, module in modules.items()}
        return Models(**parts, config=self.config, tiny=True)

    def _recorded(self, name: str) -> dict[str, Tensor]:
        tensors = self.tensors(f"weights/{name}")
        assert tensors is not None, name
        if name == "denoising_unet":
            tensors |= self.tensors("weights/motion_module") or {}
        if name == "whisper":
            return {k.removeprefix("encoder."): t for k, t in tensors.items() if k.startswith("encoder.")}
        return {key: tensor for key, tensor in tensors.items() if not key.endswith(".pe")}


def keyed(name: str, module: nn.Module) -> dict[str, Tensor]:
    """Weights that follow from the names of the parameters."""
    return {key: tensor for key, tensor in tiny.tensors(name, module, seed=0) if not key.endswith(".pe")}
