"""Every stage against tensors recorded from the authors' code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.parity.__main__ import main
from tests.parity.golden import GOLDEN


def test_keyed(capsys: pytest.CaptureFixture[str]) -> None:
    """All stages are within their limits on the recorded set that comes with this repository."""
    assert main([str(GOLDEN / "keyed")]) == 0
    assert "31 compared, 3 absent, 0 over" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_keyed_in_half_precision(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every module stays within 2 % in float16, the precision of CUDA devices, and within 5 % in bfloat16."""
    assert main([str(GOLDEN / "keyed"), "--dtype", dtype]) == 0
    assert " 0 over" in capsys.readouterr().out


@pytest.mark.long
def test_dev(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All stages are within their limits on the larger set, whose weights are recorded too."""
    assert main([str(assets / "golden/dev")]) == 0
    assert "38 compared, 2 absent, 0 over" in capsys.readouterr().out


def test_a_deviation_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A single stage beyond its limit is named and makes the comparison fail; what is missing is said to be absent."""
    for name in ("config.json", "scheduler.json", "face_vae.safetensors"):
        shutil.copy(GOLDEN / "keyed" / name, tmp_path)
    shutil.copytree(GOLDEN / "keyed/inputs", tmp_path / "inputs")
    tensors = load_file(tmp_path / "face_vae.safetensors")
    tensors["face_features"] = tensors["face_features"] * 1.0001
    save_file(tensors, tmp_path / "face_vae.safetensors")
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if "OVER" in line] == [["face", "locator"]]
    assert any(line.startswith("reference bank") and line.endswith("absent") for line in lines)
