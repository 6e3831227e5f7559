"""Which devices there are, and how a worker is bound to its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from echod.errors import ConfigurationError
from echod.host import cluster
from echod.host.cards import NoSuchDevice, entries, visible_alone
from echod.workers import devices
from echod.workers.devices import find_devices, pin, sharing
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


def test_hidden_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An empty CUDA_VISIBLE_DEVICES means no cards, which is nobody's mistake."""
    monkeypatch.setattr(devices, "DEV", tmp_path)
    (tmp_path / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_devices(("auto",)) == ("cpu",) and not caplog.records


VISIBLE = [
    "", "0", "0,1", " 0, 2", "2,0", "0,0", "0,-1,2", "-1", "1gpu2,2ampere", "0,,2", "gpu", "+1,2", "0,GPU-a",
    "GPU-a,GPU-b", "GPU-a,GPU-a", "GPU-a, GPU-b", "GPU-a,1", "MIG-a,MIG-b", "MIG-a,MIG-a", "MIG-a,GPU-b",
    "MIG-GPU-a/1/0,MIG-GPU-a/2/0",
]  # fmt: skip


@pytest.mark.parametrize("visible", VISIBLE)
def test_entries(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    """CUDA_VISIBLE_DEVICES is read as torch reads it, which tells how many there are."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert entries(visible) == [str(each) for each in torch.cuda._parse_visible_devices()]


def test_parts_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto takes every MIG part that is visible by name, though CUDA counts one; each worker sees its own."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b,MIG-c")
    found = find_devices(("auto",))
    assert found == ("cuda:0", "cuda:1", "cuda:2")
    assert visible_alone(found[1]) == "MIG-b"


@pytest.mark.parametrize(
    ("named", "found", "visible"),
    [
        (("GPU-a", "GPU-b"), ("cuda:0", "cuda:1"), ["GPU-a", "GPU-b"]),
        (("MIG-a", "MIG-a", "MIG-b"), ("cuda:0", "cuda:0", "cuda:1"), ["MIG-a", "MIG-a", "MIG-b"]),
        (("cpu", "GPU-b"), ("cpu", "cuda:0"), ["", "GPU-b"]),
    ],
)
def test_named_by_uuid(
    monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...], found: tuple[str, ...], visible: list[str]
) -> None:
    """Cards and parts of them named by UUID have torch's names from then on, and each worker sees the one it was."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert find_devices(named) == found
    assert [visible_alone(device) for device in found] == visible


@pytest.mark.parametrize(
    ("workers", "speech", "shares"),
    [
        (("cpu", "cpu"), "cpu", [[], []]),
        (("cuda:0", "cuda:1"), "cpu", [[], []]),
        (("cuda:0", "cuda:1"), "cuda:1", [[], ["speech"]]),
        (("cuda:0", "cuda:0", "cpu"), "cuda:0", [["cuda:0#2", "speech"], ["cuda:0", "speech"], []]),
        (("cuda:0", "cuda:1"), "MIG-b", [[], ["speech"]]),
        (("cuda:0", "cuda:9", "cuda:9"), "cpu", [[], [], []]),  # which is not there
    ],
)
def test_sharing(
    monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...], speech: str, shares: list[list[str]]
) -> None:
    """Whoever holds memory of a worker's card beside it is named."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    assert sharing(workers, speech) == shares


def test_find_devices() -> None:
    """Named devices are taken as they are; auto without CUDA is one CPU worker."""
    assert find_devices(("cpu", "cpu")) == ("cpu", "cpu")
    assert find_devices(("auto",))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (("ray:3",), ("ray",) * 3),
        (("cuda:0", "ray:2/cpu", "ray:1"), ("cuda:0", "ray/cpu", "ray/cpu", "ray")),
        (("cpu", "ray", "ray/cpu"), ("cpu",)),
    ],
)
def test_on_a_cluster(monkeypatch: pytest.MonkeyPatch, wanted: tuple[str, ...], found: tuple[str, ...]) -> None:
    """A number of devices is so many workers; what follows the cluster is none before that is known."""
    monkeypatch.setattr(cluster, "find_spec", lambda name: name)
    assert find_devices(wanted) == found


def test_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray is not installed its devices are refused, with the command that brings it."""
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"devices = ray:8,ray/cpu needs Ray.*echod\[ray\]"):
        find_devices(("cpu", "ray:8", "ray/cpu"))
    assert find_devices(("cpu",)) == ("cpu",)


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
    assert os.environ.get("PYTORCH_CUDA_ALLOC_CONF") == ("expandable_segments:True" if visible else None)


@pytest.mark.parametrize(("device", "inherited"), [("cuda:1", "4"), ("cuda:0", ""), ("cuda:2", "GPU-a,GPU-b")])
def test_pin_beyond_what_is_seen(monkeypatch: pytest.MonkeyPatch, device: str, inherited: str) -> None:
    """A device that the daemon itself may not see is a final reason, which names both."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    with pytest.raises(NoSuchDevice, match=f"{device} is not there: CUDA_VISIBLE_DEVICES='{inherited}'") as raised:
        pin(device)
    assert why_not_ready("taking the device", raised.value).final
