"""A daemon without workers that may tell receivers on this machine, and its admin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.making.config import make_config
from tests.stand_ins.daemon import Daemon, Person
from tests.stand_ins.hands import Inspector


@pytest.fixture
def limits() -> dict[str, object]:
    return {"webhook_private": True}


@pytest.fixture
async def daemon(tmp_path: Path, limits: dict[str, object]) -> AsyncIterator[Daemon]:
    async with Daemon(make_config(tmp_path, **limits), Inspector()).run() as running:
        yield running


@pytest.fixture
async def anna(daemon: Daemon) -> Person:
    return await daemon.person("anna", "admin")
