"""What `echod bench` asks of the machine, and of a card by way of NVML, which is played here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from echod.commands.meter import Meter, UnknownError
from echod.commands.share import of_peak
from echod.inference.echomimic.tiny import init_tiny


class NVMLError(Exception):
    pass


class NVML(ModuleType):
    """A card that draws 300 J between any two looks; what is in `deaf` it does not tell."""

    NVMLError = NVMLError
    deaf: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.millijoules, self.asked = 0, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        return lambda *given: self._tell(name, *given)

    def _tell(self, name: str, *given: Any) -> Any:
        self.asked.append((name, *given))
        if name in self.deaf:
            raise NVMLError("Not Supported")
        self.millijoules += 300_000
        answers = {
            "nvmlDeviceGetTotalEnergyConsumption": self.millijoules,
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5 << 30),
            "nvmlSystemGetDriverVersion": "580.65",
        }
        return answers.get(name, "the handle")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> NVML:
    module = NVML()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def meter(visible: str | None) -> Meter:
    return Meter({"pid": os.getpid(), "cuda_visible_devices": visible})


@pytest.mark.parametrize(
    ("visible", "asked"),
    [("1", ("nvmlDeviceGetHandleByIndex", 1)), ("GPU-ab", ("nvmlDeviceGetHandleByUUID", "GPU-ab"))],
)
def test_a_card(nvml: NVML, visible: str, asked: tuple[Any, ...]) -> None:
    """It is found as the worker sees it; watts are what it drew since the meter began to look."""
    one = meter(visible)
    assert asked in nvml.asked
    assert (one.card().memory(), one.card().driver()) == (5 << 30, "580.65")
    assert one.watts() > 0
    assert one.host_memory() > 10 << 20


def test_a_card_that_does_not_tell(nvml: NVML, monkeypatch: pytest.MonkeyPatch) -> None:
    """What NVML refuses is unknown, in its words, and so is all of it without its module, or without a card."""
    nvml.deaf = ("nvmlDeviceGetMemoryInfo",)
    with pytest.raises(UnknownError, match="NVML: Not Supported"):
        meter("0").card().memory()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UnknownError, match="pip install nvidia-ml-py"):
        meter("0").watts()
    with pytest.raises(UnknownError, match="no card"):
        meter("").watts()
    with pytest.raises(UnknownError, match="status"):
        Meter({"pid": None, "cuda_visible_devices": ""}).host_memory()


def made(*devices: str, engine: str = "echomimic") -> Any:
    timings = {"denoise": 1500, "decode": 500}
    extras = {"devices": list(devices), "timings_ms": timings, "windows_total": 10, "frames": 24}
    return {"model": engine, "size": "64x64", "echod": extras}


@pytest.mark.parametrize(
    ("video", "why"),
    [
        (made("cpu", engine="preview"), "preview is not counted"),
        (made("cpu", "cpu#2"), "cpu, cpu#2 made it together"),
        (made("cpu"), "has no echomimic: name the daemon's with ECHOD_WEIGHTS"),
    ],
)
def test_no_share_of_the_peak(video: Any, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said why there is none."""
    monkeypatch.setenv("ECHOD_WEIGHTS", str(tmp_path))
    with pytest.raises(UnknownError, match=why):
        of_peak(video, {"dtype": "float32"}, "")


@pytest.mark.long
def test_share_of_the_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOP of all calls and frames by the time that they took, against a matrix product in the same dtype."""
    init_tiny(tmp_path / "weights")
    monkeypatch.setenv("ECHOD_WEIGHTS", str(tmp_path / "weights"))
    found = of_peak(made("cpu"), {"dtype": "float32", "threads": "1"}, "")
    assert found["share"] == pytest.approx(found["flops"] / found["peak_flops"])
    assert found["peak_flops"] > 1e9
    assert found["flops"] > 0
    with pytest.raises(UnknownError, match="float13"):
        of_peak(made("cpu"), {"dtype": "float13"}, "")
