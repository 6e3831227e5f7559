"""Servers on the loopback interface, and backends that talk to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from echod.host.secret import Secret
from echod.speech import attempts
from echod.speech.dashscope.backend import DashScope
from echod.speech.openai.backend import OpenAI
from tests.stand_ins.dashscope_server import KEY, DashScopeServer
from tests.stand_ins.openai_server import KEY as OPENAI_KEY
from tests.stand_ins.openai_server import OpenAIServer


@pytest.fixture
async def dashscope_server() -> AsyncIterator[DashScopeServer]:
    async with DashScopeServer() as server:
        yield server


@pytest.fixture
async def dashscope(dashscope_server: DashScopeServer) -> AsyncIterator[DashScope]:
    """A backend whose own timeouts never help."""
    backend = DashScope(Secret(KEY), dashscope_server.url, dashscope_server.ws_url, sdk_timeout=3600)
    yield backend
    await backend.close()


@pytest.fixture
async def openai_server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as server:
        yield server


@pytest.fixture
async def openai(openai_server: OpenAIServer) -> AsyncIterator[OpenAI]:
    backend = OpenAI(openai_server.url, Secret(OPENAI_KEY), rate=openai_server.rate, sound="base64")
    yield backend
    await backend.close()


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "BACKOFF", 0.0)
