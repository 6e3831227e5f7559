"""Other ways into /v1/realtime: from a browser's page, and to be heard alone."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeTranscriptionSessionCreateResponse
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.drivers.asking import SECOND
from tests.drivers.talking import Talk
from tests.stand_ins.backend import gives
from tests.stand_ins.daemon import Daemon


def offering(daemon: Daemon, *protocols: str, **options: Any) -> connect:
    url = f"{daemon.base.replace('http', 'ws')}/v1/realtime?model=auto"
    return connect(url, subprotocols=[Subprotocol(each) for each in protocols], **options)


async def test_a_browser(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """A page that can send no header offers its token beside the subprotocol, which is the one it is answered."""
    root = await daemon.person("root", "admin")
    caplog.set_level(logging.DEBUG)
    for handler in ("websockets", "uvicorn"):  # as `serve` has them
        logging.getLogger(handler).setLevel(logging.WARNING)
    async with offering(daemon, "realtime", f"openai-insecure-api-key.{root.token}") as ws:
        assert ws.subprotocol == "realtime"
        assert json.loads(await ws.recv())["type"] == "session.created"
    for wrong in (root.token[:-1], ""):
        with pytest.raises(InvalidStatus) as refused:
            await offering(daemon, "realtime", f"openai-insecure-api-key.{wrong}x")
        assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus):
        await offering(daemon, "realtime", *[f"openai-insecure-api-key.{token}" for token in (root.token, "other")])
    with pytest.raises(InvalidStatus):
        await offering(daemon, "realtime")
    assert not any(root.token[:-1] in record.getMessage() for record in caplog.records if record.name != "websockets")
    async with offering(daemon, "another", additional_headers=root.bearer) as ws:
        assert ws.subprotocol is None


async def test_a_key_where_none_is_needed(daemon: Daemon) -> None:
    """While there are no accounts whoever is local is let in, whatever key their client insists on."""
    async with offering(daemon, "realtime", "openai-insecure-api-key.none") as ws:
        assert ws.subprotocol == "realtime"


async def test_transcription(daemon: Daemon, client: AsyncOpenAI) -> None:
    """A session for transcription hears what is said, where turns are detected too, and answers nothing."""
    daemon.backend.attempts = [gives("What time is it?")]
    query = {"intent": "transcription"}
    async with client.realtime.connect(model="gpt-4o-transcribe", extra_query=query) as connection:
        talk = Talk(connection)
        created = await talk.until("session.created")
        RealtimeTranscriptionSessionCreateResponse.model_validate(created.session.to_dict())
        await talk.send(
            {
                "type": "session.update",
                "session": {
                    "type": "transcription",
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcm", "rate": 24000},
                            "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                            "turn_detection": None,
                        }
                    },
                },
            }
        )
        updated = (await talk.until("session.updated")).session
        assert updated.type == "transcription" and updated.audio.input.transcription.language == "en"
        await talk.append(SECOND)
        await connection.input_audio_buffer.commit()
        heard = await talk.until("conversation.item.input_audio_transcription.completed")
        assert heard.transcript == "What time is it?"
        assert "does not answer" in (await talk.refused({"type": "response.create"})).message
        wrong = {"type": "session.update", "session": {"type": "realtime"}}
        assert (await talk.refused(wrong)).param == "session.type"
    assert not daemon.backend.turns


async def test_detected_and_not_answered(daemon: Daemon, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only listens answers nobody who has stopped speaking."""
    monkeypatch.setattr("echod.conversation.ear.Ear._voice_in", lambda self, window: float(any(window)))
    daemon.backend.attempts = [gives("One."), gives("Two.")]
    async with client.realtime.connect(model="auto", extra_query={"intent": "transcription"}) as connection:
        talk = Talk(connection)
        for _ in range(2):
            await talk.append(SECOND + bytes(len(SECOND)))
        for words in ("One.", "Two."):
            await talk.until("conversation.item.input_audio_transcription.completed", transcript=words)
    assert not daemon.backend.turns and "response.created" not in [event.type for event in talk.events]


async def test_an_intent_of_ones_own(daemon: Daemon, client: AsyncOpenAI) -> None:
    """What is not known is refused rather than passed over."""
    async with client.realtime.connect(model="auto", extra_query={"intent": "translation"}) as connection:
        assert (await Talk(connection).until("error")).error.param == "intent"
