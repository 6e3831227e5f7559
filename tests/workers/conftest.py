"""A fleet of one worker, and an environment that stays as it was."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.drivers.bench import Bench, bench


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What is done to it by code that in life has a process of its own ends with the test."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() | before.keys():
        if os.environ.get(name) != before.get(name) and name != "PYTEST_CURRENT_TEST":
            os.environ.pop(name, None)
            os.environ.update({name: before[name]} if name in before else {})
