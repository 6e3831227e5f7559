"""Programs started for speech."""

from __future__ import annotations

import os
import sys

import pytest

from echod.speech.base import Failure
from echod.speech.local_programs import kill, start


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
