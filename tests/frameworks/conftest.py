"""A daemon with a role to talk to, who hears, answers and calls for the weather."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.drivers.asking import make_role
from tests.making.config import make_config
from tests.stand_ins.agentic import Agentic
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import Inspector


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(make_config(tmp_path, silence_timeout=60), Inspector())
    daemon.backend = Agentic()
    async with daemon.run():
        await make_role(daemon, personality="You are Ada.", language="en")
        yield daemon
