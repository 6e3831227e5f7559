"""Clips that somebody waits for: of fewer calls, wherever they are computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echod.inference import contract
from echod.inference.audio import Speech
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from echod.inference.echomimic.sampler import Likeness
from echod.inference.room import Room
from tests.making.media import write_wav

STEPS = 2


class Killed(BaseException):
    pass


def made(pipeline: Audio2VideoPipeline, likeness: Likeness, speech: Speech, **options: Any) -> NDArray[np.uint8]:
    return np.concatenate(list(pipeline(likeness, speech, steps=STEPS, **options)))


def test_fewer_calls(pipeline: Audio2VideoPipeline, likeness: Likeness, tmp_path: Path) -> None:
    """As many frames, without the windows that frames would cost which nobody sees; a job's clip has those too."""
    speech = Speech.open(write_wav(tmp_path / "speech.wav", 17.5 / 24, 16000))
    counted: dict[bool, int] = {}
    for live in (False, True):

        def checkpoint(stage: str, done: int, total: int, live: bool = live) -> None:
            if stage == "denoise":
                counted[live] = total

        assert len(made(pipeline, likeness, speech, live=live, checkpoint=checkpoint)) == 18
    assert counted == {False: 3 * STEPS, True: 2 * STEPS}


def test_silence_behind(pipeline: Audio2VideoPipeline, second: Speech) -> None:
    """Features of silence follow those of the recording, which hardly notice it."""
    plain, longer = pipeline.hear(second), pipeline.hear(second, silence=0.2)
    assert (len(plain), len(longer)) == (30, 40)
    beside = (longer[:20] - plain[:20]).norm() / plain[:20].norm()
    assert 0 < beside < 0.2


def test_goes_on_after_a_death(pipeline: Audio2VideoPipeline, likeness: Likeness, tmp_path: Path) -> None:
    """Who takes it up, and who helps, has the plan that it was begun with, and makes the same frames."""
    speech = Speech.open(write_wav(tmp_path / "speech.wav", 18.5 / 24, 16000))
    place, found, helped = contract.Board(tmp_path / "board", Room(tmp_path)), list[int](), list[int]()

    def dies(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("denoise", 2):
            raise Killed

    with pytest.raises(Killed):
        made(pipeline, likeness, speech, live=True, board=place, checkpoint=dies)

    def once(stage: str, done: int, total: int) -> None:
        helped.append(done)
        if done:
            raise Killed

    def goes_on(stage: str, done: int, total: int) -> None:
        if stage == "denoise" and not found:
            found.append(done)
            with pytest.raises(Killed):
                pipeline.help(place.directory, once)

    again = made(pipeline, likeness, speech, live=True, board=place, checkpoint=goes_on)
    assert (found, helped) == ([2], [0, 1])
    assert np.array_equal(again, made(pipeline, likeness, speech, live=True))
