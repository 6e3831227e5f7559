"""Somebody who helps with a clip that another makes, as far as they are to."""

from __future__ import annotations

from pathlib import Path

from echod.inference.echomimic.pipeline import Audio2VideoPipeline


class Enough(Exception):
    """Whoever helps has done what it was to do."""


def helping(pipeline: Audio2VideoPipeline, board: Path, most: int, numbers: str | None = None) -> int:
    """Help with so many calls and batches. Returns how many there were."""
    done = 0

    def checkpoint(stage: str, so_far: int, total: int) -> None:
        nonlocal done
        done = so_far
        if so_far >= most:
            raise Enough

    try:
        return pipeline.help(board, checkpoint, numbers=numbers)
    except Enough:
        return done
