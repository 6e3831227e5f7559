"""A whole plan, from noise to the latents of all its frames."""

from __future__ import annotations

from torch import Tensor

from echod.inference.echomimic.board import Batch, Board, Order
from echod.inference.echomimic.sampler import Sampler
from echod.inference.echomimic.windows import wavefront


def denoised(sampler: Sampler, latents: Tensor, order: Order = wavefront) -> tuple[Tensor, list[int]]:
    """The latents (N, 4, h, w), and how many frames, from the first, were final after each call."""
    plan, final = sampler.plan, []
    board = Board.begin(plan, latents, plan.frames, sampler.step, order=order)
    while (task := board.take()) is not None:
        if isinstance(task, Batch):
            board.pass_over(task)
        else:
            board.add(task, sampler(task, board.given(task)))
            reached = (board.shelf.levels == plan.steps).tolist()
            final.append((*reached, False).index(False))
    board.close()
    return board.shelf.latents[plan.steps % 2], final
