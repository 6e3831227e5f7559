from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from echod.inference.contract import Options, Portrait
from echod.jobs.job import ClipOptions
from echod.provenance.manifest import describe, differences
from tests.stand_ins.engine import ScriptedEngine


class Stepping(ScriptedEngine):
    name = "echomimic"
    computed = {"device": "NVIDIA H100", "dtype": "float16"}  # noqa: RUF012

    def settle(self, options: Options) -> Options:
        return dataclasses.replace(options, steps=options.steps or 6, guidance=1.0)


def made(**changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "job": "video_1",
        "engine": Stepping(),
        "options": ClipOptions(seed=7),
        "chosen": Options(seed=7),
        "inputs": {"portrait": "aa", "speech": "bb"},
        "portrait": Portrait(size=(512, 512), crop=(1, 2, 3, 4), faces=1, nbytes=0),
        "weights": {"face_locator.pth": "cc", "vae/model.bin": "dd"},
        "frames": 12,
    }
    return describe(**given | changed)


def test_all_that_decides_the_frames() -> None:
    """Inputs, every option as it was used, the crop, what computed, weights and versions."""
    manifest = made()
    assert manifest["inputs"] == {"portrait_sha256": "aa", "speech_sha256": "bb"}
    assert manifest["options"].keys() == set(ClipOptions.__struct_fields__)
    assert {name: manifest["options"][name] for name in ("steps", "guidance", "seed", "fps")} == {
        "steps": 6, "guidance": 1.0, "seed": 7, "fps": 24,
    }  # fmt: skip
    assert (manifest["engine"], manifest["crop"], manifest["frames"]) == ("echomimic", [1, 2, 3, 4], 12)
    assert manifest["computed"] == {"device": "NVIDIA H100", "dtype": "float16"}
    assert manifest["weights"] == {"face_locator.pth": "cc", "vae/model.bin": "dd"}
    assert {"echod", "torch", "av", "numpy", "diffusers"} <= manifest["versions"].keys()


def test_what_differs_is_named() -> None:
    """Each thing that decides the frames is named when it differs; which job it was decides nothing."""
    assert list(differences(made(), made(job="video_2"))) == []
    then = made()
    for path, value in (
        ("inputs.portrait_sha256", "ee"), ("options.seed", 8), ("crop", [0, 0, 3, 4]), ("computed.dtype", "float32"),
        ("weights.vae/model.bin", "ff"), ("versions.torch", "1.0"), ("engine", "preview"),
    ):  # fmt: skip
        now = copy.deepcopy(then)
        *outer, inner = path.split(".", 1)
        (now[outer[0]] if outer else now)[inner] = value
        (found,) = differences(then, now)
        assert (found.name, found.now) == (path, value)
    lacking = {**then, "weights": {"face_locator.pth": "cc"}}
    assert [tuple(each) for each in differences(then, lacking)] == [("weights.vae/model.bin", "dd", None)]


def test_a_missing_package_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some of the software may be installed under another name: that costs no clip."""
    from echod.provenance import manifest

    manifest._versions.cache_clear()
    monkeypatch.setattr(manifest, "SOFTWARE", ("numpy", "no-such-package"))
    assert made()["versions"].keys() == {"echod", "numpy"}
    manifest._versions.cache_clear()
