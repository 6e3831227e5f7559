"""What speech can do on a box, asked of the backends themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from echod.config import Settings
from echod.errors import EchodError
from echod.speech import capabilities
from echod.speech.calls import Calls
from echod.speech.plan import open_calls
from echod.speech.voices import find_voice
from tests.making.config import make_config

SERVER = {"openai_url": "http://127.0.0.1:9/v1"}  # where nobody answers: nobody may be asked


async def calls_of(directory: Path, **settings: Any) -> AsyncIterator[Calls]:
    config = make_config(directory, weights_dir=directory, **settings)
    async with open_calls(Settings(config), environ={}) as calls:
        yield calls


@pytest.fixture
async def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_hibari: None, no_mind: None) -> AsyncIterator[Calls]:
    """A box with nothing installed on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    async for calls in calls_of(tmp_path):
        yield calls


async def test_a_bare_box(bare: Calls, tmp_path: Path) -> None:
    """It neither hears nor speaks, says what to run, and not where anything lies; it replies with its script."""
    hears, speaks = await capabilities.hears(bare), await capabilities.speaks(bare)
    assert hears.reason and (hears.available, hears.reason.code) == (False, "hearing_not_installed")
    assert hears.reason.commands == ["echod weights pull whisper:base"]
    assert speaks.reason and (speaks.available, speaks.reason.code) == (False, "voice_not_installed")
    assert "apt install espeak-ng" in speaks.reason.commands
    for reason in (hears.reason, speaks.reason):
        assert str(tmp_path) not in reason.message and "/bin/" not in reason.message
        assert all(command in reason.message for command in reason.commands)
    replies = await capabilities.replies(bare)
    assert (replies.available, replies.by, replies.scripted) == (True, "local/scripted", True)


@pytest.mark.parametrize("name", ["en-us", "local/espeak-ng/de", "nobody", "local/piper/anna"])
async def test_a_voice_of_what_is_not_installed(bare: Calls, name: str) -> None:
    """Whoever names a voice where there is none is told the command that brings one."""
    with pytest.raises(EchodError, match=r"(apt|pip) install") as refused:
        await find_voice(bare, name)
    assert (refused.value.code, refused.value.param) == ("voice_not_installed", "voice")


async def test_files_are_looked_for_anew(bare: Calls, tmp_path: Path) -> None:
    """What is put there while the daemon runs counts at once, and is named without the place where it lies."""
    (tmp_path / "whisper-tiny.en.pt").touch()
    assert (await capabilities.hears(bare)).by == "local/whisper-tiny.en"


async def test_a_server(tmp_path: Path) -> None:
    """A server is taken at its settings' word, and not called; what it speaks only it knows."""
    async for calls in calls_of(tmp_path, **SERVER, voice="openai/kokoro/af_heart"):
        hears, replies = await capabilities.hears(calls), await capabilities.replies(calls)
        assert (hears.available, hears.by) == (True, "openai/whisper-1")
        assert (
            replies.reason and replies.reason.code == "reply_not_installed" and "reply_model" in replies.reason.message
        )
        speaks = await capabilities.speaks(calls)
        assert (speaks.by, speaks.languages, speaks.default_voice) == ("openai/kokoro", None, "openai/kokoro/af_heart")


async def test_a_model_that_hears_itself(tmp_path: Path) -> None:
    """Where sound goes to the model that replies, hearing needs nothing else."""
    settings = {"reply_model": "omni", "hear_backend": "local", "understanding": "omni"}
    async for calls in calls_of(tmp_path, **SERVER, **settings):
        assert (await capabilities.hears(calls)).by == "openai/omni"
