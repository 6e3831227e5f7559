"""How often the host waits for a card. Tensors without memory stand for a card's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from echod.inference.echomimic import pictures, sampler
from echod.inference.echomimic.audio_features import FrameAudio
from echod.inference.echomimic.board import GRID
from echod.inference.echomimic.config import UNetConfig
from echod.inference.echomimic.denoiser import DenoisingUNet
from echod.inference.echomimic.tiny import TINY
from echod.inference.echomimic.weights import build
from echod.inference.echomimic.windows import Plan
from tests.inference.echomimic.plain import draw

aten = torch.ops.aten
SMALL = UNetConfig(block_out_channels=(32,), layers_per_block=1)


class Card(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what crosses, and what is waited for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = args[0] if args and isinstance(args[0], Tensor) else None
        if func is aten._local_scalar_dense.default and given is not None and given.is_meta:
            self.noted.append("a look at a number")
            return True
        if func is aten._to_copy.default and given is not None and (device := kwargs.get("device")) is not None:
            if given.is_meta and torch.device(device).type == "cpu":
                self.noted.append("down" if kwargs.get("non_blocking") else "down, waiting")
                return torch.ones(given.shape, dtype=given.dtype)
            if not given.is_meta:
                self.noted.append("up")
        with self:
            made = func.decompose(*args, **kwargs)
        return func(*args, **kwargs) if made is NotImplemented else made


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tensors each wait was for."""
    noted: list[int] = []
    for module in (pictures, sampler):
        to_host = module.to_host

        def counted(*tensors: Tensor, to_host: Any = to_host) -> list[Tensor]:
            noted.append(len(tensors))
            made: list[Tensor] = to_host(*tensors)
            return made

        monkeypatch.setattr(module, "to_host", counted)
    return noted


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_once_a_window(waits: list[int], guidance: float) -> None:
    """Latents go up, velocities come down, and that is all that a window call of any step has the host wait for."""
    with torch.device("meta"):
        net = DenoisingUNet(SMALL)
    face, features = draw(1, 32, 8, 8).to("meta"), draw(99, 5, SMALL.cross_attention_dim).to("meta")
    likeness: Any = sampler.Likeness(face, None)  # type: ignore[arg-type]  # whose sizes do not matter here
    plan = Plan(30, 2)
    heard, scheduler = FrameAudio(features, plan.frames, 24), sampler.schedule(TINY.scheduler, 2)
    ours = sampler.Sampler(net, heard, likeness, scheduler, plan, guidance)
    for call in ((0, 0), (1, 3)):
        with Card() as card:
            made = ours(call, draw(12, 4, 8, 8))
        assert card.noted == ["up", "down"]
        assert not made.is_meta
    assert waits == [1, 1]


@torch.inference_mode()
def test_once_a_batch_of_frames(waits: list[int]) -> None:
    """Frames come down with the word on whether they are finite, however many pieces they were decoded in."""
    vae, sides = build(TINY)["vae"], (96, 64)  # large pictures: two at once
    with Card() as card:
        frames = pictures.pictures(vae, draw(GRID, 4, *sides))
    assert pictures.decode_batch(torch.empty(GRID, 4, *sides, device="meta")) < GRID
    assert frames.shape == (GRID, 8 * sides[0], 8 * sides[1], 3)
    assert card.noted == ["up", "down", "down"]
    assert waits == [2]
