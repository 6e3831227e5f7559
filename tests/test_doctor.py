from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from echod import doctor
from tests.conftest import make_config
from tests.stub import refuses, says, serving


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No daemon of this machine's own is found where one is sought."""
    monkeypatch.delenv("ECHOD_URL", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("echod.address.SYSTEM_SOCKET", tmp_path / "none.sock")
    monkeypatch.setattr("echod.address.DEFAULT_URL", "http://127.0.0.1:1")


def test_this_machine() -> None:
    """What the tests run with is all there."""
    assert doctor.python().ok
    packages = doctor.packages()
    assert packages.ok
    assert "click 8" in packages.finding
    assert "pytest" not in packages.finding


@pytest.mark.parametrize(
    ("probe", "timeout", "finding"),
    [
        ("import time; time.sleep(600)", 0.5, "did not answer within 0.5 s"),
        ("import os; os.abort()", 60, "ended with -6"),
        ("raise ImportError('libcudart.so is missing')", 60, "libcudart.so is missing"),
    ],
)
def test_a_torch_that_cannot_be_used(probe: str, timeout: float, finding: str) -> None:
    """Whatever torch does to the process that imports it, it is told, and the doctor lives."""
    [check] = doctor.torch_and_devices(probe, timeout)
    assert (check.ok, check.required) == (False, True)
    assert finding in check.finding


def test_devices() -> None:
    """Cards are listed by the names that --devices takes; having none is no fault."""
    probe = 'print(\'{"version": "2", "cuda": %s, "cards": %s}\')'
    torch, devices = doctor.torch_and_devices(probe % ('"12.8"', '["cuda:0 H100, 80 GiB"]'))
    assert (torch.ok, torch.finding) == (True, "2, for CUDA 12.8")
    assert devices.ok
    assert devices.finding.startswith("cuda:0 H100, 80 GiB; cpu, ")
    _, devices = doctor.torch_and_devices(probe % ("null", "[]"))
    assert (devices.ok, devices.required) == (False, False)


def test_a_codec_that_is_missing() -> None:
    """A codec counts if it encodes, not if it is listed."""

    def encode(av: Any, container: Any) -> None:
        container.add_stream("libnothing")

    assert not doctor.codec("libnothing", encode).ok


def test_disk(tmp_path: Path) -> None:
    """A state directory that is yet to be made is judged by where it will be."""
    assert doctor.disk(make_config(tmp_path)).ok
    full = doctor.disk(make_config(tmp_path, min_free="1000000GiB"))
    assert not full.ok
    assert "min_free" in full.finding


def test_the_port(tmp_path: Path) -> None:
    """Without a daemon the port has to be free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check = doctor.daemon(make_config(tmp_path, port=port), None)
    assert not check.ok
    assert f"port {port}" in check.finding
    assert doctor.daemon(make_config(tmp_path), None).ok


def test_the_daemon(tmp_path: Path) -> None:
    """A daemon that answers is asked how it is; one that was named and does not answer is a fault."""
    config = make_config(tmp_path)
    with serving() as stub:
        stub.on("GET /readyz", says({"devices": [{"state": "idle"}, {"state": "failed"}]}), refuses("forbidden"))
        assert "1 of 2 workers ready" in doctor.daemon(config, stub.url).finding
        assert not doctor.daemon(config, stub.url).ok
        stub.on("GET /readyz", refuses("forbidden"))
    assert not doctor.daemon(config, stub.url).ok


def test_weights(tmp_path: Path) -> None:
    """Model files are listed; a directory with nothing but its README has none."""
    directory = tmp_path / "weights"
    directory.mkdir()
    (directory / "README.md").touch()
    config = make_config(tmp_path, weights_dir=directory)
    assert not doctor.weights(config).ok
    (directory / "denoising_unet.pth").touch()
    assert "denoising_unet.pth" in doctor.weights(config).finding


def test_bad_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that cannot be used are a finding, and what depends on them is not looked at."""
    monkeypatch.setenv("ECHOD_PORT", "x")
    checks = list(doctor.examine())
    assert (checks[-1].name, checks[-1].ok) == ("settings", False)
    assert "ECHOD_PORT" in checks[-1].finding
