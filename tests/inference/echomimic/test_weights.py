"""Weights in the published layout: written small, loaded, damaged in every way, verified."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from echod.inference.download import digest
from echod.inference.echomimic import layout, tiny, weights
from echod.inference.echomimic.config import ModelConfig
from echod.inference.echomimic.layout import Entry, WeightsError
from echod.inference.echomimic.motion import PositionEncoder, position_table

State = dict[str, Any]

VAE = "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"
WHISPER = "audio_processor/whisper_tiny.pt"
MOTION = "down_blocks.0.motion_modules.0.temporal_transformer"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("weights") / "tiny"
    tiny.init_tiny(directory)
    return directory


@pytest.fixture
def directory(written: Path, tmp_path: Path) -> Path:
    """Tiny weights to spoil: the files are shared with other tests until `change` replaces one."""
    return Path(shutil.copytree(written, tmp_path / "tiny", copy_function=os.link))


def change(path: Path, edit: Callable[[State], Any]) -> None:
    """Save what `edit` makes of a file's content, or leaves of it, in its place."""
    flat = path.suffix == ".safetensors"
    content: State = load_file(path) if flat else torch.load(path, weights_only=True)
    edited = edit(content)
    path.unlink()
    (save_file if flat else torch.save)(content if edited is None else edited, path)


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def refusal(directory: Path, engine: str = "echomimic", dtype: torch.dtype = torch.float32) -> str:
    with pytest.raises(WeightsError) as refused:
        weights.load(directory, engine, dtype=dtype)
    said = str(refused.value)
    assert refused.value.code == ("not_finite" if "not finite" in said else "model_not_loaded")
    return said


def problems(directory: Path, engine: str = "echomimic") -> dict[str, str]:
    """What verify finds, by file; sound files are left out."""
    return {
        verdict.file: "; ".join(verdict.problems) for verdict in weights.verify(directory, engine) if verdict.problems
    }


@pytest.mark.parametrize("engine", ["echomimic", pytest.param("echomimic-quality", marks=pytest.mark.long)])
def test_what_was_written_is_loaded(directory: Path, engine: str) -> None:
    """Every parameter of every module has the value that its name stands for, and none is left out."""
    models = weights.load(directory, engine)
    loaded = {
        "reference_unet": models.reference,
        "denoising_unet": models.denoiser,
        "face_locator": models.face_locator,
        "vae": models.vae,
        "whisper": models.whisper,
    }
    for module, net in loaded.items():
        expected = dict(tiny.tensors(module, net, 0))
        state = net.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in expected)
        assert not any(parameter.requires_grad for parameter in net.parameters())
        assert not net.training
    assert models.config == tiny.TINY
    assert models.tiny


def test_half_precision(directory: Path) -> None:
    """In float16 every module is, except the audio encoder and the position tables, which cast on the fly."""
    models = weights.load(directory, "echomimic", dtype=torch.float16)
    for net in (models.reference, models.face_locator, models.vae):
        assert {tensor.dtype for tensor in net.state_dict().values()} == {torch.float16}
    assert {tensor.dtype for tensor in models.whisper.state_dict().values()} == {torch.float32}
    assert {parameter.dtype for parameter in models.denoiser.parameters()} == {torch.float16}
    table = next(part for part in models.denoiser.modules() if isinstance(part, PositionEncoder)).get_buffer("pe")
    assert torch.equal(table, position_table(*table.shape[1:]))


@pytest.mark.long
def test_the_position_tables_are_computed(directory: Path) -> None:
    """What a file says about positions does not matter, and it need not say anything."""
    motion = directory / "motion_module_acc.pth"
    tables = [key for key in torch.load(motion, weights_only=True) if weights.is_position_table(key)]
    assert len(tables) == 42
    change(motion, lambda state: {**state, tables[0]: state[tables[0]] + 1})
    before = weights.load(directory, "echomimic").denoiser.state_dict()
    change(motion, lambda state: {key: value for key, value in state.items() if key not in tables})
    after = weights.load(directory, "echomimic").denoiser.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(after[tables[0]], position_table(*after[tables[0]].shape[1:]))


def test_loading_shows_that_it_goes_on(directory: Path) -> None:
    """After every tensor there is a sign of life: from a slow disk all of them take longer than silence is borne."""
    ticks: list[None] = []
    models = weights.load(directory, "echomimic", tick=lambda: ticks.append(None))
    assert len(ticks) >= sum(1 for _ in models.denoiser.parameters())


def file_pages() -> int:
    """KiB of files in this process's memory."""
    return int(Path("/proc/self/status").read_text().partition("RssFile:")[2].split()[0])


def test_files_are_let_go_while_they_are_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading holds the models and a small part of their files, not both."""
    weights.load(directory, "echomimic")  # code is in files too
    size = sum(path.stat().st_size for path in layout.require(directory, "echomimic").values())
    monkeypatch.setattr(weights, "READ", size // 40)
    before, held = file_pages(), list[int]()
    weights.load(directory, "echomimic", tick=lambda: held.append(file_pages() - before))
    assert max(held) < size / 1024 / 3  # without that: nearly two thirds


def test_fingerprint(directory: Path) -> None:
    """It is the same for the same weights, and another where any of them is."""
    models, again = weights.load(directory, "echomimic"), weights.load(directory, "echomimic")
    first = models.fingerprint()
    assert again.fingerprint() == first
    again.reference.conv_in.weight[-1, -1, -1, -1] += 1e-6
    assert again.fingerprint() != first


def test_what_the_denoising_net_does_not_use(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of its two files, names beyond its own are left out with a warning, and position tables whatever their shape."""
    before = weights.load(directory, "echomimic").denoiser.state_dict()
    table = next(key for key in before if weights.is_position_table(key))
    change(directory / "denoising_unet_acc.pth", lambda state: {**state, "steps": torch.tensor(9)})
    change(directory / "motion_module_acc.pth", lambda state: {**state, "loss": torch.tensor(torch.nan)})
    change(directory / "motion_module_acc.pth", lambda state: {**state, table: state[table][:, :24].clone()})
    assert caplog.text == ""
    after = weights.load(directory, "echomimic").denoiser.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    for file, name in (("denoising_unet_acc.pth", "steps ()"), ("motion_module_acc.pth", "loss ()")):
        assert f"{directory / file}: left out, not of the model: {name}" in caplog.text
    assert problems(directory) == {}


def save_as_before(path: Path, content: Any) -> None:
    path.unlink()
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.long
def test_files_of_an_old_torch(directory: Path, tmp_path: Path) -> None:
    """What torch before 1.6 saved is loaded; cut off or with code in it, it is refused like a newer file."""
    path = directory / "face_locator.pth"
    before = weights.load(directory, "echomimic").face_locator.state_dict()
    save_as_before(path, before)
    after = weights.load(directory, "echomimic").face_locator.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    replace(path, path.read_bytes()[:-1])
    assert "cut off" in refusal(directory)
    save_as_before(path, {**before, "code": Runs(tmp_path / "ran")})
    assert "could run code" in refusal(directory)
    assert not (tmp_path / "ran").exists()


def test_loaded_models_do_not_follow_their_files(directory: Path) -> None:
    """Writing into a file after loading changes nothing in memory."""
    path = directory / "face_locator.pth"
    content = path.read_bytes()
    replace(path, bytes(content))
    models = weights.load(directory, "echomimic")
    before = models.face_locator.conv_in.weight.clone()
    path.write_bytes(bytes(len(content)))
    assert torch.equal(models.face_locator.conv_in.weight, before)


@pytest.mark.long
def test_each_engine_has_its_own_files(directory: Path) -> None:
    """The accelerated engine never looks at the other's denoising and motion files, nor the other way round."""
    change(directory / "motion_module.pth", lambda state: {key: 2 * value for key, value in state.items()})
    (directory / "denoising_unet_acc.pth").unlink()
    key = f"{MOTION}.proj_in.weight"
    plain = tiny.tensors("denoising_unet", weights.build(tiny.TINY)["denoising_unet"], 0)
    loaded = weights.load(directory, "echomimic-quality").denoiser.state_dict()[key]
    assert torch.equal(loaded, 2 * dict(plain)[key])
    assert "denoising_unet_acc.pth" in refusal(directory, "echomimic")


@pytest.mark.long
def test_a_tensor_in_both_files_of_the_net(directory: Path) -> None:
    """What the denoising file has of the motion modules goes before the motion file, and will do without it."""
    key = f"{MOTION}.proj_in.bias"
    moved = torch.full((32,), 3.0)
    change(directory / "denoising_unet_acc.pth", lambda state: {**state, key: moved})
    assert torch.equal(weights.load(directory, "echomimic").denoiser.state_dict()[key], moved)
    change(directory / "motion_module_acc.pth", drop(key))
    assert torch.equal(weights.load(directory, "echomimic").denoiser.state_dict()[key], moved)


@pytest.mark.long
def test_names_and_formats_of_the_vae(directory: Path) -> None:
    """Older and newer attention names load to the same VAE, from safetensors as from .bin."""
    old = load_file(directory / VAE)
    before = weights.load(directory, "echomimic").vae.state_dict()
    assert any(".proj_attn." in key for key in old)
    (directory / VAE).unlink()
    torch.save(before, (directory / VAE).with_suffix(".bin"))
    after = weights.load(directory, "echomimic").vae.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.long
def test_the_decoder_is_ignored(directory: Path) -> None:
    """Of the audio model only the encoder matters, position table included."""

    def edit(content: State) -> None:
        content["model_state_dict"]["decoder.ln.weight"] = torch.ones(3)
        content["model_state_dict"]["encoder.positional_embedding"] += 1

    before = weights.load(directory, "echomimic").whisper.positional_embedding
    change(directory / WHISPER, edit)
    assert torch.equal(weights.load(directory, "echomimic").whisper.positional_embedding, before + 1)


def drop(*keys: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if key not in keys}


def put(key: str, value: Callable[[Tensor], Tensor]) -> Callable[[State], State]:
    return lambda state: {**state, key: value(state.get(key, torch.ones(3)))}


def nan(tensor: Tensor) -> Tensor:
    return tensor.index_fill(0, torch.tensor([0]), torch.nan)


def other_dims(content: State) -> None:
    content["dims"]["n_audio_head"] = 8


def half_a_decoder(content: State) -> None:
    content["model_state_dict"].pop("encoder.conv1.bias")


DAMAGE = [
    ("reference_unet.pth", drop("conv_in.bias"), ["1 of ", "tensors missing: conv_in.bias (32,)"]),
    ("reference_unet.pth", put("conv_in.bias", lambda t: t[:8]), ["conv_in.bias: expected (32,), found (8,)"]),
    ("motion_module_acc.pth", put(f"{MOTION}.proj_out.weight", torch.zeros_like), ["nothing would move", MOTION]),
]
MORE_DAMAGE = [
    ("reference_unet.pth", put("conv_out.bias", lambda t: t), ["1 tensors too many: conv_out.bias (3,)"]),
    ("reference_unet.pth", put("conv_in.bias", nan), ["not finite", "conv_in.bias"]),
    (WHISPER, other_dims, ["another Whisper", "n_audio_head is 8, expected 6"]),
    ("reference_unet.pth", put("conv_in.bias", torch.Tensor.int), ["not of floating point", "torch.int32"]),
    ("reference_unet.pth", lambda state: {"state_dict": state}, ["no plain table of tensors"]),
    ("face_locator.pth", put("conv_in.weight", lambda t: t.repeat(1, 3, 1, 1)), ["found (16, 3, 3, 3)"]),
    (VAE, drop("post_quant_conv.bias"), ["missing: post_quant_conv.bias (4,)"]),
    (WHISPER, half_a_decoder, ["1 of 67 tensors missing: conv1.bias (48,)"]),
    (WHISPER, lambda content: content["model_state_dict"], ["no Whisper in OpenAI's format"]),
    ("denoising_unet_acc.pth", drop("conv_out.bias"), ["1 of ", "tensors missing: conv_out.bias (4,)"]),
    ("face_locator.pth", put("head.bias", lambda t: t), ["too many: head.bias (3,)"]),
    ("denoising_unet_acc.pth", put("conv_in.weight", lambda t: t[0]), ["expected (32, 4, 3, 3), found (4, 3, 3)"]),
    ("motion_module_acc.pth", drop(f"{MOTION}.proj_out.bias"), ["1 of 546 tensors missing", "proj_out.bias (32,)"]),
    ("motion_module_acc.pth", put(f"{MOTION}.norm.weight", nan), ["not finite", f"{MOTION}.norm.weight"]),
    ("face_locator.pth", drop("conv_out.weight", "conv_out.bias"), ["2 of 16 tensors missing: conv_out.weight"]),
    (VAE, put("encoder.conv_in.bias", lambda t: t[:1]), ["encoder.conv_in.bias: expected (32,), found (1,)"]),
]


@pytest.mark.parametrize(
    ("file", "edit", "words"),
    [*DAMAGE, *(pytest.param(*row, marks=pytest.mark.long) for row in MORE_DAMAGE)],
    ids=[f"{row[0]}-{i}" for i, row in enumerate(DAMAGE + MORE_DAMAGE)],
)
def test_wrong_contents(directory: Path, file: str, edit: Callable[[State], Any], words: list[str]) -> None:
    """A file whose tensors are not the model's ends loading, and verify blames it alone, in the same words."""
    change(directory / file, edit)
    message = refusal(directory)
    found = problems(directory)
    assert found.keys() == {file}
    for word in words:
        assert word in message
        assert word in found[file]
    assert message.startswith(str(directory / file))
    assert str(directory / "config.json") in message


@pytest.mark.parametrize("file", ["reference_unet.pth", pytest.param(WHISPER, marks=pytest.mark.long), VAE])
@pytest.mark.parametrize("kept", [0, *(pytest.param(kept, marks=pytest.mark.long) for kept in (100, 0.5)), -1])
def test_truncated_files(directory: Path, file: str, kept: float) -> None:
    """A file that is cut off anywhere, its last byte included, is not loaded."""
    content = (directory / file).read_bytes()
    replace(directory / file, content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    message = refusal(directory)
    assert str(directory / file) in message
    assert "cut off" in message
    assert problems(directory).keys() == {file}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"<html>not found</html>", "b'<htm'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git-lfs pointer"),
        (b"\x80\x02}q\x00.", "not like what torch.save writes"),
    ],
)
def test_files_of_another_kind(directory: Path, content: bytes, word: str) -> None:
    """A web page, a git-lfs pointer or a bare pickle under a checkpoint's name is told as what it is."""
    replace(directory / "face_locator.pth", content)
    assert word in refusal(directory)


class Runs:
    """Pickled, it makes a directory where it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code(directory: Path, tmp_path: Path) -> None:
    """Code in a checkpoint is refused and does not run."""
    trap = tmp_path / "ran"
    change(directory / "face_locator.pth", lambda state: {**state, "code": Runs(trap)})
    for message in (refusal(directory), problems(directory)["face_locator.pth"]):
        assert "could run code" in message
    assert not trap.exists()
    torch.load(directory / "face_locator.pth", weights_only=False)
    assert trap.exists()


def test_what_float16_cannot_hold(directory: Path) -> None:
    """A value that is infinite in the run's dtype ends loading there, and only there."""
    change(directory / "face_locator.pth", put("conv_in.bias", lambda tensor: tensor + 1e6))
    message = refusal(directory, dtype=torch.float16)
    assert "not finite in torch.float16: conv_in.bias" in message
    weights.load(directory, "echomimic")
    assert problems(directory) == {}


def test_missing_files(directory: Path) -> None:
    """All missing files are named at once, with the command that fetches them."""
    for name in ("motion_module_acc.pth", WHISPER, "config.json"):
        (directory / name).unlink()
    message = refusal(directory)
    assert f"lacks motion_module_acc.pth, {WHISPER}" in message
    assert f"`echod weights pull echomimic --weights {directory}`" in message
    assert layout.missing(directory, "echomimic-quality") == [WHISPER]
    assert problems(directory)[WHISPER] == "missing"


def test_sizes_are_not_guessed(directory: Path) -> None:
    """Without config.json the models are of the published sizes, whatever the tensors look like."""
    (directory / "config.json").unlink()
    assert layout.sizes(directory)[0] == ModelConfig()
    message = refusal(directory)
    assert "does not fit the published sizes" in message
    assert "expected (320, 4, 3, 3), found (32, 4, 3, 3)" in message
    assert len(message) < 1500


@pytest.mark.parametrize("content", ["{", "[]", '{"set": "tiny"}'])
def test_a_broken_config(directory: Path, content: str) -> None:
    """A config.json that cannot be used is named; nothing is loaded without it."""
    replace(directory / "config.json", content.encode())
    assert str(directory / "config.json") in refusal(directory)


def test_unknown_engine(directory: Path) -> None:
    """An engine without weights is refused with the names of those that have some."""
    assert "echomimic, echomimic-fast, echomimic-quality" in refusal(directory, "preview")


@pytest.mark.long
def test_seeds(written: Path, tmp_path: Path) -> None:
    """One seed gives the same files again, another gives others."""
    tiny.init_tiny(tmp_path / "again")
    tiny.init_tiny(tmp_path / "other", seed=1)
    for name in ("reference_unet.pth", "motion_module.pth", VAE, WHISPER):
        assert digest(tmp_path / "again" / name) == digest(written / name)
        assert digest(tmp_path / "other" / name) != digest(written / name)


def test_init_replaces_nothing(written: Path, tmp_path: Path) -> None:
    """Tiny weights are only written where nothing is yet."""
    (tmp_path / "mine.txt").touch()
    with pytest.raises(WeightsError, match="is not empty"):
        tiny.init_tiny(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_verify_compares_with_the_record(directory: Path) -> None:
    """One flipped bit in the middle of a tensor shows in the sha256 that was recorded, another size in the size."""
    path, voice = directory / "reference_unet.pth", directory / WHISPER
    record = {
        name: Entry(size=(directory / name).stat().st_size, sha256=digest(directory / name), etag="", revision="")
        for name in ("reference_unet.pth", WHISPER)
    }
    layout.write_record(directory, record)
    assert problems(directory) == {}
    assert {v.file for v in weights.verify(directory, "echomimic") if v.recorded} == {"reference_unet.pth", WHISPER}

    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace(path, bytes(content))
    change(voice, lambda content: {**content, "more": torch.ones(999)})
    found = problems(directory)
    assert found.keys() == {"reference_unet.pth", WHISPER}
    assert f"{record['reference_unet.pth'].sha256} was fetched" in found["reference_unet.pth"]
    assert f"{record[WHISPER].size} were fetched" in found[WHISPER]
    states = {row.file: row.state for row in layout.inventory(directory, ("echomimic",))}
    assert states["reference_unet.pth"] == "ok"  # looked at from outside
    assert "were fetched" in states[WHISPER]


def test_a_published_file_that_does_not_fit(directory: Path) -> None:
    """Where a file is as it was fetched, the advice is not to fetch it again; once it is not, it is."""
    (directory / layout.CONFIG).unlink()  # all files have other shapes now
    path = directory / "denoising_unet_acc.pth"
    entry = Entry(size=path.stat().st_size, sha256=digest(path), etag="", revision="")
    layout.write_record(directory, {path.name: entry})
    message = refusal(directory)
    assert message.startswith(f"{path} does not fit")
    assert "please report this message" in message
    assert "`echod weights pull echomimic" not in message
    layout.write_record(directory, {path.name: dataclasses.replace(entry, sha256="0" * 64)})
    assert "`echod weights pull echomimic" in refusal(directory)


def test_a_broken_record(directory: Path) -> None:
    """A record that cannot be read is named with what to do."""
    (directory / layout.RECORD).write_text(json.dumps({"files": {"a": {}}}))
    with pytest.raises(WeightsError, match="remove it and pull again"):
        weights.verify(directory, "echomimic")
