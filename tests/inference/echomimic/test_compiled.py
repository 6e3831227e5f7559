from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from echod.inference.echomimic.board import GRID
from echod.inference.echomimic.compiled import Compiled, UnlikeError, compile_all
from echod.inference.echomimic.config import UNetConfig
from echod.inference.echomimic.denoiser import Conditions, DenoisingUNet, TransformerBlock
from echod.inference.echomimic.motion import parting_mask
from echod.inference.echomimic.pictures import pictures
from tests.inference.echomimic.plain import draw

SMALL = UNetConfig(block_out_channels=(32,), layers_per_block=1, norm_num_groups=8)


class Counting:
    """In the place of a compiler: counts what it is given to compile, and how often that runs."""

    def __init__(self) -> None:
        self.graphs, self.runs = 0, 0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.graphs += 1

        def run(*given: Any) -> Any:
            self.runs += 1
            return graph.forward(*given)

        return run


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def small_net() -> DenoisingUNet:
    torch.manual_seed(3)
    return DenoisingUNet(SMALL).eval().requires_grad_(False)


def conditions(net: DenoisingUNet, rows: int, frames: int, free: int = 0, step: int = 499) -> Conditions:
    """Of another portrait, speech and step each time."""
    bank = {part.path: (draw(1, 8, 9, 4) + step,) * 2 for part in net.modules() if isinstance(part, TransformerBlock)}
    audio, face = draw(rows - free, 50, SMALL.cross_attention_dim) + step, draw(1, 32, 1, 1) + step
    return Conditions(net.time_shifts(step), audio, face, bank, frames, free, parting_mask(8, frames, face))


@torch.inference_mode()
def test_one_graph_for_whole_windows() -> None:
    """Steps and portraits run what was compiled once; fewer frames, guided rows and other sizes go without."""
    net, plain, counting = small_net(), small_net(), Counting()
    Compiled(net, counting)
    for step in (499, 3, 800):
        given = conditions(net, 12, 12, step=step)
        assert torch.equal(net(draw(12, 4, 4, 4) + step, given), plain(draw(12, 4, 4, 4) + step, given))
        assert counting.graphs == 1
    assert counting.runs == 3
    for rows, frames, free, side in ((5, 5, 0, 4), (24, 12, 12, 4), (12, 6, 0, 4)):
        given = conditions(net, rows, frames, free)
        x = draw(rows, 4, side, side)
        assert torch.equal(net(x, given), plain(x, given))
    assert (counting.graphs, counting.runs) == (1, 3)
    given, x = conditions(net, 12, 12), draw(4, 12, 4, 4).transpose(0, 1)
    assert torch.equal(net(x, given), plain(x, given)), "what another graph would be needed for"
    assert (counting.graphs, counting.runs) == (1, 3)


def small_vae() -> AutoencoderKL:
    torch.manual_seed(4)
    vae = AutoencoderKL(block_out_channels=(32,), latent_channels=4, act_fn="silu")
    return vae.eval().requires_grad_(False)


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def wrong(graph: Any, inputs: Any) -> Callable[..., Any]:
    return lambda x: (3 * x,)


def broken(graph: Any, inputs: Any) -> Callable[..., Any]:
    raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")


def fails(graph: Any, inputs: Any) -> Callable[..., Any]:
    def run(x: Tensor) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    return run


@pytest.mark.parametrize(
    ("backend", "error"),
    [(wrong, UnlikeError), (broken, BackendCompilerFailed), (fails, torch.OutOfMemoryError)],
    ids=["wrong", "broken", "fails"],
)
def test_what_cannot_be_compiled(backend: Any, error: type[Exception]) -> None:
    """What fails, at compiling or when it is run, or computes something else is raised; modules are as they were."""
    modules = [Doubling(), Doubling()]
    with pytest.raises(error):
        compile_all(modules, lambda: [module(torch.ones(3)) for module in modules], backend)
    assert all("forward" not in vars(module) for module in modules)
    assert torch.equal(modules[0](torch.ones(3)), torch.full((3,), 2.0))


@torch.inference_mode()
def test_the_decoder_is_compiled_for_its_batch() -> None:
    """One graph, for as many frames as are decoded together; another size and another dtype go without."""
    counting, vae = Counting(), small_vae()
    plain = small_vae()
    Compiled(vae.decoder, counting)
    for latents in (draw(GRID, 4, 8, 8), draw(GRID, 4, 8, 8) + 1, draw(GRID, 4, 8, 9)):
        assert torch.equal(pictures(vae, latents), pictures(plain, latents))
    assert (counting.graphs, counting.runs) == (1, 2)
    vae.double().decoder(draw(GRID, 4, 8, 8).double())
    assert (counting.graphs, counting.runs) == (1, 2)
