from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import _cur_sdpa_kernel_backends

from echod.inference.echomimic.attention import CUDNN_FIRST, Attention
from echod.inference.echomimic.card import Ways
from echod.inference.echomimic.config import UNetConfig
from echod.inference.echomimic.denoiser import TransformerBlock
from echod.inference.echomimic.motion import MotionModule, parting_mask
from echod.inference.echomimic.sampler import Likeness, Sampler, schedule
from echod.inference.echomimic.weights import Models
from echod.inference.echomimic.windows import Plan
from tests.inference.echomimic.plain import distance, draw
from tests.parity.golden import Golden


@pytest.mark.parametrize(
    ("capability", "triton", "chosen"),
    [
        ((7, 5), True, Ways(True, True, True)),
        ((8, 0), True, Ways(True, True, True, compiles=True)),
        ((8, 9), False, Ways(True, True, True)),
        ((9, 0), True, Ways(True, True, True, True, True)),
        ((10, 0), False, Ways(True, True, True, True, False)),
        ((12, 0), True, Ways(True, True, True, compiles=True)),
    ],
)
def test_what_a_card_can(capability: tuple[int, int], triton: bool, chosen: Ways) -> None:
    """cuDNN's attention goes first on 9.x and 10.x, from 8.0 on Triton's kernels are compiled, the rest is for all."""
    assert Ways.on(capability, triton) == chosen


def test_a_cpu_computes_as_ever() -> None:
    assert Ways.of(torch.device("cpu")) == Ways()


@pytest.fixture(scope="module")
def own_models(keyed: Golden) -> Models:
    """Some that a test may change."""
    return keyed.models()


@torch.inference_mode()
@pytest.mark.parametrize(("frames", "side"), [(12, 16), (5, 9), (12, 1)])
def test_eight_places_a_row(frames: int, side: int) -> None:
    """Places that share a row of attention see their own frames only, however many there are."""
    torch.manual_seed(5)
    motion, x = MotionModule(64, UNetConfig()).eval(), draw(2 * frames, 64, side, side)
    together = motion(x, frames, parting_mask(8, frames, x))
    assert distance(together, motion(x, frames)) < 1e-6
    assert distance(together, motion(x, 1)) > 1e-3


@torch.inference_mode()
def test_one_product_for_q_k_and_v(own_models: Models, models: Models) -> None:
    """The whole net computes the same, names and values of the weights stay, and none of them is held twice."""
    net = own_models.denoiser
    Ways(fused=True, together=True).take(own_models)
    state = net.state_dict()
    assert all(torch.equal(state[key], each) for key, each in models.denoiser.state_dict().items())
    for part in net.modules():
        if isinstance(part, Attention) and part.fused is not None:
            layers = (part.to_q, part.to_k, part.to_v)[3 - len(part.fused) // part.to_k.out_features :]
            (storage,) = {layer.weight.untyped_storage().data_ptr() for layer in layers}
            assert storage == part.fused.untyped_storage().data_ptr()
    bank, audio = models.reference.bank(draw(1, 4, 24, 16)), draw(12, 50, models.config.unet.cross_attention_dim)
    face = draw(1, models.config.unet.block_out_channels[0], 24, 16)
    made = []
    for each in (net, models.denoiser):
        likeness = Likeness(face, each.bank_keys(bank))
        sampler = Sampler(each, lambda _: audio, likeness, schedule(models.config.scheduler, 6), Plan(12, 6))
        made.append(sampler((0, 0), draw(12, 4, 24, 16)))
    assert 0 < distance(*made) < 1e-5


def test_a_likeness_lies_alike_for_helpers(likeness: Likeness) -> None:
    """What helpers read back lies in memory as what was prepared: nothing would have to be compiled for it again."""
    read = {name: tensor.contiguous() for name, tensor in likeness.tensors().items()}
    lent = Likeness.of(read, likeness.face.device)
    assert lent.face.stride() == likeness.face.stride()
    for path, pair in likeness.bank.items():
        assert [each.stride() for each in lent.bank[path]] == [each.stride() for each in pair]


@torch.inference_mode()
def test_cudnn_first(own_models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only self-attention with the portrait asks for it, and the order of before is back afterwards."""
    net, orders, before = own_models.denoiser, list[Any](), _cur_sdpa_kernel_backends(with_priority=True)
    Ways(cudnn_first=True).take(own_models)
    attention = F.scaled_dot_product_attention

    def noted(*given: Any) -> Tensor:
        orders.append(_cur_sdpa_kernel_backends(with_priority=True))
        return attention(*given)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    block = next(part for part in net.modules() if isinstance(part, TransformerBlock))
    tokens = draw(3, 4, block.attn1.to_q.in_features)
    block.attn1.attend(*block.attn1.own(tokens))
    block.attn2.attend(block.attn2.queries(tokens), *block.attn2.keys(draw(3, 50, block.attn2.to_k.in_features)))
    assert orders == [CUDNN_FIRST, before]
    assert _cur_sdpa_kernel_backends(with_priority=True) == before
