from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from echod.inference.echomimic.card import Ways
from echod.inference.echomimic.config import UNetConfig
from echod.inference.echomimic.denoiser import DenoisingUNet
from echod.inference.echomimic.feed_forward import Gate
from tests.inference.echomimic.plain import distance, draw

pytest.importorskip("triton", reason="Triton comes with openai-whisper on Linux")


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_one_kernel(dtype: torch.dtype) -> None:
    """By Triton's interpreter, which knows no bfloat16: rows that no tile divides, several tiles, several steps."""
    from triton.runtime.interpreter import InterpretedFunction

    from echod.inference.echomimic import geglu

    torch.manual_seed(1)
    gate = Gate(128, 192).to(dtype)
    tokens = draw(2, 100, 128).to(dtype)
    made = geglu.launch(InterpretedFunction(geglu.gated.fn), tokens, gate.proj.weight, gate.proj.bias)
    due = gate(tokens)
    assert made.shape == due.shape == (2, 100, 192)
    assert distance(made.float(), due.float()) < torch.finfo(dtype).eps * 4


@torch.inference_mode()
def test_only_where_it_is_compiled() -> None:
    """What the compiler is not given, such as a window of fewer frames, is computed as ever."""

    def in_one(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        hidden, gate = F.linear(tokens, weight, bias).chunk(2, -1)
        return -hidden * F.gelu(gate)

    gate, tokens = Gate(64, 64), draw(3, 64)
    plain = gate(tokens)
    gate.in_one = in_one
    assert torch.equal(gate(tokens), plain)
    assert torch.equal(torch.compile(gate, backend="eager", fullgraph=True)(tokens), -plain)
    torch._dynamo.reset()


@pytest.mark.parametrize("compiles", [True, False])
def test_where_it_is_worth_it(compiles: bool) -> None:
    """Of the published widths in those of few terms, in pictures' blocks and in motion's."""
    nothing = torch.nn.ModuleList()
    with torch.device("meta"):
        net = DenoisingUNet(UNetConfig())
    models: Any = SimpleNamespace(denoiser=net, vae=nothing, decodes=nothing, reference=nothing)
    Ways(compiles=compiles).take(models)
    chosen = Counter(
        (part.proj.in_features, part.in_one is not None) for part in net.modules() if isinstance(part, Gate)
    )
    assert chosen == {(320, compiles): 10, (640, compiles): 10, (1280, False): 17}
