"""Compiling the denoiser and the VAE's decoder: what happens between matrix products becomes few kernels of Triton's.

A module is compiled for one kind of input, that of whole windows at the usual size; whatever else comes is computed as
it would be without. So nothing is ever compiled while a clip is made, and who computed what is all one among workers
that compiled the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .denoiser import Conditions

log = logging.getLogger("echod.compiled")

# Between what compiled and what other kernels make, relative: roundings alone may give 0.03 in bfloat16, and twice
# that with guidance; what is wrong is off by about 1.
APART = 0.2

Kind = Callable[..., Hashable]


def kind(x: Tensor, given: Conditions | None = None) -> Hashable:
    """What decides which graph a call needs."""
    return (x.shape, x.dtype, *((given.frames, given.free, given.bank is None) if given else ()))


class Compiled:
    """In the place of a module's `forward`: compiled for the first kind of input that comes, and for no other."""

    def __init__(self, module: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
        self._module, self._eager = module, module.forward
        self._compiled = torch.compile(module.forward, dynamic=False, fullgraph=True, backend=backend)
        self._kind: Hashable = None
        module.forward = self

    def __call__(self, *given: Any) -> Any:
        if self._kind is None:
            self._kind = kind(*given)
            return self._compiled(*given)
        if kind(*given) != self._kind:
            return self._eager(*given)
        with torch.compiler.set_stance(
            "eager_on_recompile"
        ):  # minutes in the middle of a clip would be taken for a stall
            return self._compiled(*given)

    def undo(self) -> None:
        del self._module.forward  # the class has its own


class UnlikeError(ArithmeticError):
    """What was compiled computes something else."""


def compile_all(
    modules: Sequence[nn.Module], work: Callable[[], Sequence[Tensor]], backend: str | Callable[..., Any] = "inductor"
) -> None:
    """Compile modules for what they are given in `work`, which returns what it made.

    Raises whatever compiling raises, and UnlikeError; then all modules are as they were.
    """
    expected = work()
    compiled = [Compiled(module, backend) for module in modules]
    try:
        for made, due in zip(work(), expected, strict=True):
            if not (apart := distance(made, due)) <= APART:
                raise UnlikeError(f"compiled kernels give something else, {apart:.2g} off; {APART} would pass")
    except BaseException:
        for each in compiled:
            each.undo()
        raise


def distance(made: Tensor, due: Tensor) -> float:
    """Relative, in the root of squares."""
    return float((made.double() - due.double()).norm() / due.double().norm())
