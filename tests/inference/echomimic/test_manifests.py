from __future__ import annotations

import gzip
import json

import pytest

from echod.inference.echomimic.config import ModelConfig
from echod.inference.echomimic.weights import build
from tests.parity.golden import GOLDEN

Manifest = dict[str, list[int]]


def manifest(name: str) -> Manifest:
    read: Manifest = json.loads(gzip.decompress((GOLDEN / f"manifests/{name}.json.gz").read_bytes()))
    return read


@pytest.fixture(scope="module")
def published() -> dict[str, Manifest]:
    modules = build(ModelConfig())
    return {name: {k: list(t.shape) for k, t in net.state_dict().items()} for name, net in modules.items()}


@pytest.mark.parametrize("name", ["denoising_unet", "reference_unet", "face_locator", "vae"])
def test_published_names_and_shapes(published: dict[str, Manifest], name: str) -> None:
    """At full size every tensor has the name and shape that the published file has, and there are no others."""
    assert published[name] == manifest(name)


def test_motion_file(published: dict[str, Manifest]) -> None:
    """The motion file's tensors are the denoising net's motion modules: 21 of them."""
    motion = {key: shape for key, shape in published["denoising_unet"].items() if ".motion_modules." in key}
    assert motion == manifest("motion_module")
    assert len({key.partition(".temporal_transformer")[0] for key in motion}) == 21


def test_sizes_survive_the_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a configuration writes about itself it reads back."""
    path = tmp_path_factory.mktemp("sizes") / "config.json"
    path.write_text(json.dumps(ModelConfig().as_json()))
    assert ModelConfig.read(path) == ModelConfig()


@pytest.mark.parametrize("lacking", ["unet", "whisper"])
def test_incomplete_sizes(tmp_path_factory: pytest.TempPathFactory, lacking: str) -> None:
    """Sizes are never guessed: a file that lacks some is refused by its name."""
    path = tmp_path_factory.mktemp("sizes") / "config.json"
    sizes = ModelConfig().as_json()
    del sizes[lacking]
    path.write_text(json.dumps(sizes))
    with pytest.raises(ValueError, match=rf"config\.json .*{lacking}"):
        ModelConfig.read(path)
