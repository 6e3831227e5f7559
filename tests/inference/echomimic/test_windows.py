from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.inference.echomimic.audio_features import frame_count
from echod.inference.echomimic.board import GRID
from echod.inference.echomimic.config import FEATURE_RATE, FPS, OVERLAP, WINDOW
from echod.inference.echomimic.windows import Agenda, Plan, calls_before, cheapest, wavefront

from .plain import step_by_step


@st.composite
def plans(draw: st.DrawFn, most: int = 90) -> Plan:
    window = draw(st.integers(2, 32))
    return Plan(draw(st.integers(1, most)), draw(st.integers(1, 7)), window, draw(st.integers(0, window - 1)))


@given(plans())
def test_covering_is_the_inverse_of_covered(plan: Plan) -> None:
    """A frame is covered by exactly the windows that list it, at every step by at least one."""
    for step in range(plan.steps):
        listed = [plan.covered((step, window)) for window in range(plan.windows)]
        for frame in range(plan.frames):
            covering = plan.covering(step, frame)
            assert covering == [(step, window) for window, frames in enumerate(listed) if frame in frames] != []


@given(plans())
def test_wavefront_runs_everything_once_and_in_time(plan: Plan) -> None:
    """Every call runs once, and not before all calls of the step before that touch its frames have run."""
    done: set[tuple[int, int]] = set()
    for step, window in wavefront(plan):
        assert (step, window) not in done
        if step:
            for frame in plan.covered((step, window)):
                assert done.issuperset(plan.covering(step - 1, frame))
        done.add((step, window))
    assert done == set(step_by_step(plan))


@pytest.mark.parametrize(("frames", "first", "calls"), [(72, 32, 48), (240, 36, 162), (1200, 47, 804)])
def test_first_frame_is_final_early(frames: int, first: int, calls: int) -> None:
    """Frame 0 is final after no more calls than it depends on, however long the clip."""
    plan = Plan(frames, 6)
    order = list(wavefront(plan))
    assert len(order) == plan.calls == calls
    assert 1 + max(map(order.index, plan.covering(5, 0))) == first


@pytest.mark.parametrize(
    ("steps", "calls_saved", "calls_sooner"), [(6, 192, 425), pytest.param(30, 960, 1260, marks=pytest.mark.long)]
)
def test_the_cheapest_plan(steps: int, calls_saved: int, calls_sooner: int) -> None:
    """No length is dearer than with the frames that the model makes beside those shown; many are cheaper."""
    saved, sooner = [], []
    for wanted in range(1, 145):
        usual = Plan(frame_count(wanted * FEATURE_RATE // FPS, FPS), steps)
        plan = cheapest(wanted, steps, WINDOW, OVERLAP, GRID)
        assert plan.frames >= wanted
        saved.append(usual.calls - plan.calls)
        sooner.append(calls_before(usual, GRID) - calls_before(plan, GRID))
    assert min(saved) == 0 <= min(sooner)
    assert (sum(saved), sum(sooner)) == (calls_saved, calls_sooner)


@pytest.mark.parametrize(
    ("wanted", "frames", "first", "calls"), [(12, 12, 6, 6), (64, 68, 32, 48), (72, 72, 36, 48), (73, 77, 34, 54)]
)
def test_silence_behind(wanted: int, frames: int, first: int, calls: int) -> None:
    """Where the last window is hardly used a few more frames make the first ones come sooner, for no more calls."""
    plan = cheapest(wanted, 6, WINDOW, OVERLAP, GRID)
    assert (plan.frames, calls_before(plan, GRID), plan.calls) == (frames, first, calls)


def test_frames_are_final_in_a_steady_stream() -> None:
    """After the first ones, a clip's frames become final a few at a time until the last."""
    plan, at = Plan(240, 6), dict[int, int]()
    for done, (step, window) in enumerate(wavefront(plan), 1):
        if step == plan.steps - 1:
            at.update(dict.fromkeys(plan.covered((step, window)), done))
    finished = [max(at[frame] for frame in range(last + 1)) for last in range(plan.frames)]
    assert max(later - sooner for sooner, later in pairwise(finished)) <= 12


@pytest.mark.parametrize(
    ("window", "overlap", "message"),
    [(1, 0, "window 1 .* 2 to 32"), (33, 3, "33"), (12, 12, "overlap 12 .* 11"), (12, -1, "-1")],
)
def test_impossible_windows(window: int, overlap: int, message: str) -> None:
    """Windows outside what the temporal attention knows, or that would not move on, are refused with the limits."""
    with pytest.raises(ValueError, match=message):
        Plan(24, 6, window, overlap)


@given(plans())
def test_the_agenda_of_one_is_the_wavefront(plan: Plan) -> None:
    """Whoever always does what is ready first runs the wavefront, or whichever order is asked for."""
    for order in (wavefront, step_by_step):
        agenda, done, ran = Agenda(plan, order), [0] * plan.calls, []
        while (call := next(agenda.ready(done), None)) is not None:
            ran.append(call)
            done[plan.number(call)] = 1
        assert ran == list(order(plan))


@settings(max_examples=30, deadline=None)
@given(plans(most=40), st.randoms(use_true_random=False))
def test_the_agenda_of_many(plan: Plan, dice: Random) -> None:
    """In any order: what is ready lacks nothing, what is not lacks something, and each frame takes each step once."""
    agenda, done, levels = Agenda(plan, wavefront), [0] * plan.calls, [0] * plan.frames
    for left in range(plan.calls, 0, -1):
        ready = list(agenda.ready(done))
        for call in step_by_step(plan):
            can = all(levels[frame] == call[0] for frame in plan.covered(call)) and not done[plan.number(call)]
            assert (call in ready) == can
        call = dice.choice(ready)
        for frame in agenda.moved(call, done):
            assert levels[frame] == call[0]
            levels[frame] += 1
        done[plan.number(call)] = 1
        assert sum(done) == plan.calls - left + 1
    assert levels == [plan.steps] * plan.frames
    assert not list(agenda.ready(done))
