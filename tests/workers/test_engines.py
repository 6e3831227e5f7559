from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from echod.daemon import choose_engines
from echod.errors import ConfigurationError
from echod.inference.echomimic.layout import parts
from tests.making.config import make_config


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A directory where every file of the accelerated engine has its name."""
    for part in parts("echomimic"):
        (tmp_path / "weights" / part.names[0]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "weights" / part.names[0]).touch()
    return tmp_path / "weights"


@pytest.mark.parametrize(
    ("engine", "devices", "chosen"),
    [
        ("auto", ("cpu",), ("preview",)),
        ("auto", ("cuda:0", "cuda:1"), ("echomimic", "preview")),
        ("echomimic", ("cpu",), ("echomimic", "preview")),
        ("preview", ("cuda:0",), ("preview",)),
    ],
)
def test_what_workers_load(
    tmp_path: Path, weights: Path, engine: str, devices: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    """The preview always, and before it the engine asked for; auto is echomimic where there is CUDA."""
    assert choose_engines(make_config(tmp_path, engine=engine, weights_dir=weights), devices) == chosen


@pytest.mark.parametrize(
    ("engine", "main"), [("auto", "echomimic"), ("echomimic", "echomimic"), ("echomimic-quality", "echomimic-quality")]
)
def test_without_weights(tmp_path: Path, engine: str, main: str) -> None:
    """Missing weights are refused with 78, naming a file, how to fetch them, and the engine that needs none."""
    config = make_config(tmp_path, engine=engine, weights_dir=tmp_path / "nothing")
    with pytest.raises(
        ConfigurationError, match=rf"reference_unet\.pth.*weights pull {main}.*--engine preview"
    ) as caught:
        choose_engines(config, ("cuda:0",))
    assert caught.value.exit_code == 78


def test_the_other_decoder(tmp_path: Path, weights: Path) -> None:
    """It is refused with what to do where its file is missing, and for engines that have no such choice."""
    config = make_config(tmp_path, engine="echomimic", decoder="taesd", weights_dir=weights)
    with pytest.raises(ConfigurationError, match=r"taesd/diffusion_pytorch_model\.safetensors.*weights pull taesd"):
        choose_engines(config, ("cpu",))
    (weights / "taesd").mkdir()
    (weights / "taesd" / "diffusion_pytorch_model.safetensors").touch()
    assert choose_engines(config, ("cpu",)) == ("echomimic", "preview")
    assert choose_engines(replace(config, engine="echomimic-fast"), ("cpu",)) == ("echomimic-fast", "preview")
    for engine in ("preview", "auto"):
        with pytest.raises(ConfigurationError, match="is for EchoMimic's engines, and preview is none") as caught:
            choose_engines(replace(config, engine=engine), ("cpu",))
        assert (caught.value.exit_code, caught.value.param) == (78, "decoder")


def test_files_of_the_other_engine_do_not_do(tmp_path: Path, weights: Path) -> None:
    """The quality engine has files of its own."""
    config = make_config(tmp_path, engine="echomimic-quality", weights_dir=weights)
    with pytest.raises(ConfigurationError, match=r"denoising_unet\.pth, motion_module\.pth"):
        choose_engines(config, ("cpu",))
