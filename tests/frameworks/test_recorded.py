"""What frameworks for voice agents send by default, recorded from them by test_frameworks.py, is acted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.drivers.frames import Replay
from tests.stand_ins.daemon import Daemon

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))


def test_all_are_there() -> None:
    assert [path.stem for path in RECORDED] == ["agents_realtime", "livekit_agent", "openai_agents", "pipecat_agent"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_recorded(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Every frame is taken, and each turn ends as it did: typed, spoken, interrupted, with a tool; edits are made."""
    monkeypatch.setattr("echod.conversation.ear.Ear._voice_in", lambda self, window: float(any(window)))
    recording = json.loads(path.read_text())
    url = f"{daemon.base.replace('http', 'ws')}/v1/realtime?model=role:ada"
    async with connect(url, max_size=None) as connection:
        replay = Replay(connection)
        await replay.send(recording["frames"])
    assert set(replay.errors) <= {"response_cancel_not_active"}, [e for e in replay.events if e["type"] == "error"]
    assert replay.statuses == recording["statuses"] and "cancelled" in replay.statuses
    transcripts = [event["transcript"] for event in replay.events if event["type"].endswith("audio_transcript.done")]
    assert any("The weather:" in each for each in transcripts) and "You said: What do you hear?" in transcripts
