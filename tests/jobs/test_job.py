from __future__ import annotations

from pathlib import Path

from echod.jobs.job import ClipOptions
from tests.making.config import make_config


def test_the_label_where_a_job_says_nothing_of_it(tmp_path: Path) -> None:
    """It is as the settings have it, without one unless they say so; what a job says goes first."""
    plain = ClipOptions().settled(make_config(tmp_path))
    assert (plain.label, plain.label_language) == ("none", "en")
    labelling = make_config(tmp_path, label="corner", label_language="zh")
    assert ClipOptions().settled(labelling) == ClipOptions(label="corner", label_language="zh")
    asked = ClipOptions(label="none", label_language="en")
    assert asked.settled(labelling) == asked
