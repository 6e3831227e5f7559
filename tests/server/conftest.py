"""A daemon without workers, and somebody who talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from tests.drivers.asking import make_role
from tests.drivers.talking import Talk
from tests.making.config import make_config
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import Inspector


@pytest.fixture
def limits() -> dict[str, object]:
    """Settings of the daemon under test; modules override this."""
    return {}


@pytest.fixture
async def daemon(tmp_path: Path, limits: dict[str, object]) -> AsyncIterator[Daemon]:
    async with Daemon(make_config(tmp_path, **limits), Inspector()).run() as running:
        yield running


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key="none") as client:
        yield client


@pytest.fixture
async def talk(client: AsyncOpenAI) -> AsyncIterator[Talk]:
    """Somebody who says when they have said something."""
    async with client.realtime.connect(model="auto") as connection:
        talk = Talk(connection)
        await talk.push_to_talk()
        yield talk


@pytest.fixture
async def ada(daemon: Daemon, client: AsyncOpenAI) -> AsyncIterator[Talk]:
    """At a role that greets."""
    await make_role(daemon, personality="You are Ada.", greeting="Hello, I am Ada.", language="en")
    async with client.realtime.connect(model="role:ada") as connection:
        yield Talk(connection)
