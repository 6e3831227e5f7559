from __future__ import annotations

import pytest

from echod.inference.echomimic.cost import count
from echod.inference.echomimic.tiny import TINY


@pytest.mark.long
def test_what_a_clip_costs() -> None:
    """Convolutions grow with the picture's area, attention faster; guidance computes nearly everything twice."""
    small, large, guided = count(TINY, (64, 64)), count(TINY, (128, 128)), count(TINY, (64, 64), guidance=2.5)
    assert 4 * small.call < large.call < 16 * small.call
    assert 4 * small.frame == pytest.approx(large.frame, rel=0.1)
    assert 1.5 * small.call < guided.call <= 2 * small.call
    assert guided.frame == small.frame > count(TINY, (64, 64), decoder="taesd").frame > 0
