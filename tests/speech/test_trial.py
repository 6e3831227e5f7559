"""Speech tried out: what `echod doctor` says of each function."""

from __future__ import annotations

from pathlib import Path

import pytest

from echod.speech.trial import Trial, try_speech
from tests.making.config import make_config
from tests.stand_ins.openai_server import OpenAIServer


async def tried(directory: Path, server: OpenAIServer, reply_model: str = "chat") -> dict[str, Trial]:
    server.key = None
    voice = "openai/tts-1/alloy"
    config = make_config(directory, openai_url=server.url, reply_model=reply_model, voice=voice)
    return {trial.function: trial for trial in await try_speech(config)}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "OPENAI_API_KEY", "ECHOD_OPENAI_KEY"):
        monkeypatch.delenv(name, raising=False)


async def test_all_is_well(tmp_path: Path, openai_server: OpenAIServer) -> None:
    """What was spoken is heard, and a reply that goes on and on is a reply."""
    trials = await tried(tmp_path, openai_server, "chat@length")
    assert [trial.ok for trial in trials.values()] == [True, True, True]
    assert "replied with 8 words" in trials["reply"].finding


async def test_a_voice_at_the_wrong_pitch(tmp_path: Path, openai_server: OpenAIServer) -> None:
    """A server whose samples are taken for others' is found out, and the rest is tried all the same."""
    openai_server.rate = 22050
    trials = await tried(tmp_path, openai_server)
    assert [trial.ok for trial in trials.values()] == [False, True, True]
    assert "set openai_rate = 22050" in trials["speak"].finding
