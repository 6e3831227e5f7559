"""What docs/operate.md shows, on machines with a real systemd; tests/operated.py has the steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drivers.box import lacking
from tests.operated import CACHE, operate


@pytest.mark.long
@pytest.mark.timeout(900)
def test_days_of_an_operator(tmp_path: Path) -> None:
    """Install, a clip as somebody else, a stop in between, backup, upgrade and back, restore elsewhere, the end."""
    if why := lacking():
        pytest.skip(f"no machine with systemd can be had here: {why}")
    operate(CACHE, tmp_path, print)
