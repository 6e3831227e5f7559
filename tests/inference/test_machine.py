from __future__ import annotations

from pathlib import Path

import pytest
import torch

from echod.inference import machine
from echod.inference.limits import DTYPES
from echod.inference.machine import dtypes, of_card, of_processor


@pytest.mark.parametrize(
    ("card", "capability", "first", "last"),
    [
        ("GTX 1080", (6, 1), "float32", "float32"),
        ("P100", (6, 0), "float16", "float32"),
        ("V100", (7, 0), "float16", "float32"),
        ("GTX 1660, T4", (7, 5), "float16", "float32"),
        ("A100", (8, 0), "float16", "float32"),
        ("RTX 4090", (8, 9), "float16", "float32"),
        ("H100", (9, 0), "float16", "float32"),
        ("K80", (3, 7), "float32", "float32"),
    ],
)
def test_a_card(card: str, capability: tuple[int, int], first: str, last: str) -> None:
    """float16 where the card is fast in it, then bfloat16 where that is an instruction, then float32."""
    chosen = of_card(capability)
    assert (chosen[0], chosen[-1]) == (first, last), card
    assert ("bfloat16" in chosen) == (capability >= (8, 0))
    assert set(chosen) <= set(DTYPES)


@pytest.mark.parametrize(
    ("vendor", "flags", "chosen"),
    [
        ("GenuineIntel", "fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile", ("bfloat16", "float32")),
        ("GenuineIntel", "fpu avx2 avx512f avx512_bf16", ("float32",)),
        ("GenuineIntel", "fpu avx2 avx512f avx512_vnni", ("float32",)),
        ("AuthenticAMD", "fpu avx2 avx512f avx512_bf16", ("bfloat16", "float32")),
        ("AuthenticAMD", "fpu avx2", ("float32",)),
        ("", "", ("float32",)),
    ],
)
def test_a_processor(vendor: str, flags: str, chosen: tuple[str, ...]) -> None:
    """bfloat16 only where it is an instruction, and a fast one."""
    assert of_processor(vendor, frozenset(flags.split())) == chosen


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Linux says of the processor is what torch finds; a card is asked for its own capability."""
    if hasattr(torch.cpu, "get_capabilities") and Path("/proc/cpuinfo").exists():
        found = torch.cpu.get_capabilities()
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
        fast = bool(found.get("amx_bf16") or (amd and found.get("avx512_bf16")))
        assert (dtypes("cpu")[0] == "bfloat16") == fast
    asked: list[str] = []

    def capability(device: str) -> tuple[int, int]:
        asked.append(device)
        return (6, 1)

    monkeypatch.setattr(torch.cuda, "get_device_capability", capability)
    assert (dtypes("cuda:1"), asked) == (("float32",), ["cuda:1"])


def test_where_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc there is a name all the same, and float32."""
    monkeypatch.setattr(machine, "_told", lambda name: "")
    assert dtypes("cpu") == ("float32",)
    assert machine.processor.__wrapped__()
