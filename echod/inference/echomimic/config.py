"""The sizes of the EchoMimic models, the constants of its domain, and one row per released engine.

Field names are those of the checkpoints' own configuration files. Dimensions, in this notation everywhere:
B batch, F frames of a window, N frames of the clip, n rows = (b f), batch-major; H, W height and width in pixels;
h, w of the latents = H/8, W/8; L = h w tokens of one level; C channels of one level; T audio positions, D their width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

FPS = 24
SAMPLE_RATE = 16_000  # samples per second
HOP = 160  # samples per mel frame: 100 a second
FEATURE_RATE = 50  # audio positions per second = SAMPLE_RATE / HOP / 2, the encoder's stride
CHUNK_MELS = 3000  # mel frames the audio encoder takes at a time = 30 s
BEFORE, AFTER = 4, 5  # audio positions around a frame's own: 4 + 1 + 5 = 10 of them

WINDOW = 12  # frames
OVERLAP = 3  # frames that two windows share
MAX_WINDOW = 32  # positions that the temporal attention knows
ROTATION = 2  # frames that the windows move on at every step

AUDIO_FACTOR = 3.0  # of the audio attention's output; stands in no configuration file
NOISE_CLAMP = 1.5
LATENT_SCALE = 0.18215
VAE_FACTOR = 8  # pixels per latent, each way


@dataclass(frozen=True)
class UNetConfig:
    """Both U-Nets. `cross_attention_dim` is the audio's width, `motion_positions` the length of the position table."""

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    in_channels: int = 4
    out_channels: int = 4
    layers_per_block: int = 2
    attention_head_dim: int = 8  # the number of heads, whatever it is called
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: int = 384
    motion_heads: int = 8
    motion_positions: int = MAX_WINDOW


@dataclass(frozen=True)
class FaceLocatorConfig:
    conditioning_embedding_channels: int = 320
    conditioning_channels: int = 1
    block_out_channels: tuple[int, ...] = (16, 32, 96, 256)


@dataclass(frozen=True)
class WhisperConfig:
    """The audio encoder, openai-whisper's `dims` without the decoder's."""

    n_mels: int = 80
    n_audio_ctx: int = CHUNK_MELS // 2
    n_audio_state: int = 384
    n_audio_head: int = 6
    n_audio_layer: int = 4


VAE: Mapping[str, Any] = {
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

SCHEDULER: Mapping[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",  # not scaled_linear
    "clip_sample": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


@dataclass(frozen=True)
class ModelConfig:
    """All sizes, by default the published ones.

    `vae`, `taesd` and `scheduler` are keyword arguments of diffusers' AutoencoderKL, AutoencoderTiny and DDIMScheduler.
    """

    unet: UNetConfig = UNetConfig()
    face_locator: FaceLocatorConfig = FaceLocatorConfig()
    whisper: WhisperConfig = WhisperConfig()
    vae: Mapping[str, Any] = field(default_factory=lambda: dict(VAE))
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(SCHEDULER))
    taesd: Mapping[str, Any] = field(default_factory=dict)  # diffusers' defaults are TAESD's sizes

    @classmethod
    def read(cls, path: Path) -> Self:
        """Other sizes, from a `config.json`. Raises ValueError, naming the file and what it lacks."""
        try:
            given = json.loads(path.read_text())
            unet, extra = given["unet"], given["unet_additional_kwargs"]
            motion = extra["motion_module_kwargs"]
            return cls(
                unet=_fill(
                    UNetConfig,
                    {
                        **unet,
                        "cross_attention_dim": extra["cross_attention_dim"],
                        "motion_heads": motion["num_attention_heads"],
                        "motion_positions": motion["temporal_position_encoding_max_len"],
                    },
                ),
                face_locator=_fill(FaceLocatorConfig, given["face_locator"]),
                whisper=_fill(WhisperConfig, given["whisper"]),
                vae=_public(given["vae"]),
                scheduler=_public(given["scheduler"]),
                taesd=_public(given.get("taesd", {})),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} does not describe EchoMimic models: {type(error).__name__} {error}") from error

    def as_json(self) -> dict[str, Any]:
        """What `read` reads."""
        unet = asdict(self.unet)
        motion = {
            "num_attention_heads": unet.pop("motion_heads"),
            "temporal_position_encoding_max_len": unet.pop("motion_positions"),
        }
        extra = {"cross_attention_dim": unet.pop("cross_attention_dim"), "motion_module_kwargs": motion}
        return {
            "unet": unet,
            "unet_additional_kwargs": extra,
            "face_locator": asdict(self.face_locator),
            "whisper": asdict(self.whisper),
            "vae": dict(self.vae),
            "scheduler": dict(self.scheduler),
            "taesd": dict(self.taesd),
        }


def _fill(kind: Any, given: Mapping[str, Any]) -> Any:
    """A dataclass from the entries that it has fields for; all of them must be there."""
    values = {name: given[name] for name in kind.__dataclass_fields__}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _public(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if not key.startswith("_")}


@dataclass(frozen=True)
class Preset:
    """A row of the engines: what it does unless told otherwise, and the files of the denoiser.

    `approximates` says what it does otherwise than the authors' code with these files; empty: nothing.
    """

    steps: int
    guidance: float  # 1 = off; above, every window is computed twice
    denoising: str
    motion: str
    approximates: str = ""


PRESETS: Mapping[str, Preset] = {
    "echomimic": Preset(6, 1.0, "denoising_unet_acc.pth", "motion_module_acc.pth"),
    "echomimic-fast": Preset(4, 1.0, "denoising_unet_acc.pth", "motion_module_acc.pth", "4 steps"),
    "echomimic-quality": Preset(30, 2.5, "denoising_unet.pth", "motion_module.pth"),
}
