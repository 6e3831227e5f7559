"""Which devices there are, and how a worker is bound to its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from echod.workers import devices
from echod.workers.devices import NoSuchDevice, find_devices, pin
from echod.workers.failures import why_not_ready


def test_a_card_that_torch_cannot_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there is a card and torch was built for CPUs, the log says so: clips would silently be previews."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(devices, "DEV", tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert find_devices(("auto",)) == ("cpu",) and not caplog.records
    (tmp_path / "nvidia0").touch()
    assert find_devices(("auto",)) == ("cpu",)
    assert f"there is {tmp_path}/nvidia0, but torch" in caplog.text


def test_find_devices() -> None:
    """Named devices are taken as they are; auto without CUDA is one CPU worker."""
    assert find_devices(("cpu", "cpu")) == ("cpu", "cpu")
    assert find_devices(("auto",))


@pytest.mark.parametrize(
    ("device", "inherited", "visible"),
    [("cpu", None, ""), ("cuda:1", None, "1"), ("cuda:1", "4,6", "6"), ("cuda:0", "GPU-a,GPU-b", "GPU-a")],
)
def test_pin(monkeypatch: pytest.MonkeyPatch, device: str, inherited: str | None, visible: str) -> None:
    """A worker sees its own device only, counted within what the daemon itself may see."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if inherited:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    assert pin(device) == visible
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


@pytest.mark.parametrize(("device", "inherited"), [("cuda:1", "4"), ("cuda:0", ""), ("cuda:2", "GPU-a,GPU-b")])
def test_pin_beyond_what_is_seen(monkeypatch: pytest.MonkeyPatch, device: str, inherited: str) -> None:
    """A device that the daemon itself may not see is a final reason, which names both."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    with pytest.raises(NoSuchDevice, match=f"{device} is not there: CUDA_VISIBLE_DEVICES='{inherited}'") as raised:
        pin(device)
    assert why_not_ready("taking the device", raised.value).final
