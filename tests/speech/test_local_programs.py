"""Programs started for speech."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any

import pytest

from echod.host.spawn import end, kill
from echod.speech.backend import Failure
from echod.speech.local.programs import start
from tests.drivers.leaks import HANG, nothing_left


async def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program sees what it needs of the daemon's environment, and no key."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-planted")
    monkeypatch.setenv("ECHOD_TOKEN", "planted")
    process = await start("env", environment={"OMP_NUM_THREADS": "3"})
    shown = (await process.communicate())[0].decode()
    assert f"PATH={os.environ['PATH']}\n" in shown
    assert "OMP_NUM_THREADS=3\n" in shown
    assert "planted" not in shown


async def test_kill() -> None:
    """A program is ended once; to end it again, or one that has ended by itself, is no mistake."""
    process = await start(sys.executable, "-c", "input()", environment={})
    kill(process)
    assert await process.wait() < 0
    kill(process)
    await process.communicate()


async def test_does_not_start() -> None:
    """What cannot be started is named."""
    with pytest.raises(Failure, match=r"/nowhere/program does not start: No such file") as failure:
        await start("/nowhere/program", environment={})
    assert failure.value.kind == "unavailable"


async def test_cancelled_while_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start is cancelled although the program ends before it is connected, of which asyncio misses the end."""
    loop = asyncio.get_running_loop()
    connect = loop.connect_read_pipe

    async def late(factory: Any, pipe: Any) -> Any:
        transport, protocol = await connect(factory, pipe)
        while not protocol.disconnected:  # noqa: ASYNC110  (it is told to nobody else)
            await asyncio.sleep(0.001)
        return transport, protocol

    monkeypatch.setattr(loop, "connect_read_pipe", late)
    async with nothing_left(), asyncio.timeout(HANG):
        for count in range(10):
            starting = asyncio.create_task(start("true", environment={}))
            for _ in range(count):
                await asyncio.sleep(0)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await end(await starting)
