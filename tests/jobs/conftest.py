"""A desk of its own for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from echod.journal import Journal
from tests.drivers.office import Office, open_office
from tests.making.config import make_config


@pytest.fixture
def limits() -> dict[str, object]:
    return {}


@pytest.fixture
async def office(tmp_path: Path, limits: dict[str, object]) -> AsyncIterator[Office]:
    config = make_config(tmp_path, **limits)
    config.state_dir.mkdir()
    journal = Journal(config.state_dir / "journal")
    journal.open()
    yield await open_office(config, journal, tmp_path)
    await journal.close()
