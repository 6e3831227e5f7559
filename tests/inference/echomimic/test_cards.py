"""What matters on a card, shown without one: by counts, fake tensors and a stand-in for what CUDA says of a card."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from echod.inference.echomimic import attention
from echod.inference.echomimic.attention import Attention
from echod.inference.echomimic.card import Ways
from echod.inference.echomimic.config import VAE_FACTOR
from echod.inference.echomimic.denoiser import Conditions
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from echod.inference.echomimic.sampler import predict
from echod.inference.echomimic.weights import Models
from echod.inference.limits import MAX_SIDE
from tests.inference.echomimic.plain import draw


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows torch's attention got each time."""
    seen = list[int]()

    def spy(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        seen.append(len(query))
        return F.scaled_dot_product_attention(query, key, value, mask)

    spied = SimpleNamespace(**{name: getattr(F, name) for name in dir(F) if not name.startswith("_")})
    spied.scaled_dot_product_attention = spy
    monkeypatch.setattr(attention, "F", spied)
    return seen


def test_rows_of_attention(models: Models, batches: list[int]) -> None:
    """With guidance, motion modules attend in two rows a place: never 2 ** 16 at once, where torch's kernels fail.

    Clips of the daemon's largest size stay below; what a program may ask for beyond is split.
    """
    net, config = copy.deepcopy(models.denoiser).to("meta"), models.config.unet
    h, w = 2 * MAX_SIDE // VAE_FACTOR, MAX_SIDE // VAE_FACTOR
    with torch.device("meta"):
        bank = net.bank_keys(copy.deepcopy(models.reference).to("meta").bank(torch.empty(1, 4, h, w)))
        given = Conditions(
            net.time_shifts(499),
            torch.empty(1, 50, config.cross_attention_dim),
            torch.empty(1, config.block_out_channels[0], h, w),
            bank,
            frames=1,
        )
        assert predict(net, torch.empty(1, 4, h, w), given, 2.5).shape == (1, 4, h, w)
    assert max(batches) == 2**16 - 1 < 2 * h * w
    assert 2 * (MAX_SIDE // VAE_FACTOR) ** 2 == 2**15


def test_split_rows(batches: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows know nothing of each other, so that in parts they give the same."""
    layer = Attention(8, 2)
    query, (key, value) = layer.queries(draw(7, 3, 8)), layer.keys(draw(7, 5, 8))
    whole = layer.attend(query, key, value)
    monkeypatch.setattr(attention, "MOST", 3)
    assert torch.equal(layer.attend(query, key, value), whole)
    assert batches == [7, 3, 3, 1]


class Net(nn.Module):
    """As much of a U-Net as a pipeline looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = SimpleNamespace(weight=torch.empty(8, 4, 3, 3, device="cuda"))


def test_algorithms_are_not_chosen_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA convolutions take the same algorithm whatever else the card does, even if a program wanted otherwise."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with FakeTensorMode():
        models: Any = SimpleNamespace(denoiser=Net(), vae=Net(), decodes=Net(), reference=Net())
        Audio2VideoPipeline(models)
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (True, False)


def test_numbers_of_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards of one name with other numbers of multiprocessors, as parts of cards are, do not help each other."""

    def numbers(name: str, multiprocessors: int) -> str:
        card = SimpleNamespace(name=name, multi_processor_count=multiprocessors)
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: card)
        asked: Any = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float16, ways=Ways(), compiled=False)
        return str(vars(Audio2VideoPipeline)["numbers"].fget(asked))

    assert numbers("H100", 132) == f"H100 x132 torch.float16 torch {torch.__version__}"
    assert numbers("H100", 132) != numbers("H100", 114)
