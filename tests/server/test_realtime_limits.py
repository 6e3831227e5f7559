"""What a client of /v1/realtime may send, and leave unread, before it is refused or let go."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from echod.conversation.ear import SECOND as SECOND_BYTES
from echod.conversation.ear import Ear
from echod.conversation.history import History
from echod.server.front import closing
from echod.server.front.connection import Connection
from echod.server.realtime import socket as realtime
from echod.server.realtime.socket import MAX_EVENT, Outbox
from echod.speech.backend import Call
from tests.drivers.asking import SECOND, history, receive, until
from tests.drivers.talking import Talk, message
from tests.stand_ins.backend import gives
from tests.stand_ins.daemon import Daemon


def append(sound: bytes) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()}


# Sound


async def test_clearing(daemon: Daemon, talk: Talk) -> None:
    """What is cleared was never said."""
    await talk.send(append(SECOND))
    await talk.connection.input_audio_buffer.clear()
    await talk.until("input_audio_buffer.cleared")
    error = await talk.refused({"type": "input_audio_buffer.commit"})
    assert "0 ms" in error.message
    assert "input_audio_buffer.committed" not in [event.type for event in talk.events]


@pytest.mark.parametrize("limits", [{"max_utterance": 2}])
async def test_an_utterance_too_long(daemon: Daemon, talk: Talk) -> None:
    """Neither one piece nor all of them may last longer than max_utterance; the first is refused unheard."""
    await talk.send(append(SECOND))
    error = await talk.refused(append(SECOND * 2 + b"\1\0"))
    assert (error.code, error.param) == ("invalid_request", "audio")
    assert "max_utterance = 2 s" in error.message
    await talk.send(append(SECOND))
    error = await talk.refused(append(SECOND))
    assert "what was said is dropped" in error.message
    assert "0 ms" in (await talk.refused({"type": "input_audio_buffer.commit"})).message


@pytest.mark.parametrize("limits", [{"max_utterance": 2}])
async def test_somebody_who_goes_on(daemon: Daemon, talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the daemon listens for the end, what is longer than max_utterance becomes two items, answered together."""
    monkeypatch.setattr(Ear, "_voice_in", lambda self, window: float(any(window)))
    await talk.update(output_modalities=["text"], audio={"input": {"turn_detection": {"type": "server_vad"}}})
    daemon.backend.attempts = [gives("It was"), gives("a long day."), gives("Rest.")]
    await talk.append(b"\1\1" * 24_000 * 3)
    await talk.append(bytes(2 * 24_000))
    assert (await talk.done()).status == "completed"
    assert daemon.backend.turns[0].text == "It was\na long day."
    kinds = [(event.type.rpartition(".")[2], event.item_id) for event in talk.events if "buffer" in event.type]
    first, second = kinds[0][1], kinds[-1][1]
    assert kinds == [
        (kind, item) for item in (first, second) for kind in ("speech_started", "speech_stopped", "committed")
    ]
    assert first != second


async def test_a_long_piece_holds_up_nobody(daemon: Daemon, talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is heard a second at a time, and between two everybody else gets their turn."""
    beats, heard, feed = 0, [], Ear.feed

    def watched(self: Ear, sound: bytes) -> Any:
        heard.append((len(sound), beats))
        return feed(self, sound)

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    monkeypatch.setattr(Ear, "feed", watched)
    beating = asyncio.create_task(beat())
    daemon.backend.attempts = [gives("What?")]
    await talk.send(append(SECOND * 30))
    await talk.connection.input_audio_buffer.commit()
    await talk.until("input_audio_buffer.committed")
    beating.cancel()
    assert [size for size, _ in heard] == [SECOND_BYTES] * 30
    assert len({beat for _, beat in heard}) == 30


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ({"type": "input_audio_buffer.append", "audio": "!" * MAX_EVENT}, "audio"),
        ({"audio": "AAAA" * (MAX_EVENT // 4), "type": "conversation.item.create"}, None),
        ({"type": "input_audio_buffer.append", "audio": [[]] * (MAX_EVENT // 4)}, None),
        ({"type": "session.update", "session": {"instructions": "x" * MAX_EVENT}}, None),
    ],
    ids=["no base64", "an item", "no text", "instructions"],
)
async def test_a_large_event(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, event: dict[str, Any], param: str | None
) -> None:
    """Only an append may be large: any other such event is refused before objects are made of it."""
    monkeypatch.setattr(realtime, "json_object", None)
    assert (await talk.refused(event)).param == param


async def test_a_large_append_with_more_in_it(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large append the sound is taken, in whatever order its keys come, and the rest is passed over."""
    monkeypatch.setattr(realtime, "json_object", None)
    await talk.send({"more": [[]] * (MAX_EVENT // 4), **append(SECOND * 5), "event_id": "e"})
    await talk.send({"more": [[]] * (MAX_EVENT // 4), "event_id": "e", "audio": "!", "type": "x"})
    assert (await talk.until("error")).error.event_id is None
    monkeypatch.undo()
    await talk.connection.input_audio_buffer.commit()
    await talk.until("input_audio_buffer.committed")


async def test_an_event_larger_than_an_utterance(daemon: Daemon) -> None:
    """Nothing is taken in of an event that is larger than the longest utterance: the connection ends."""
    size = realtime.largest_event(daemon.config.max_utterance) + 1
    async with connect(f"{daemon.base.replace('http', 'ws')}/v1/realtime?model=auto") as client:
        client.transport.write(b"\x81\xff" + size.to_bytes(8, "big") + b"mask")  # a frame's head: nothing follows
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_the_largest_event() -> None:
    """It follows max_utterance, up to a bound."""
    assert realtime.largest_event(60) == 60 * 64_000 + MAX_EVENT
    assert realtime.largest_event(86_400) == realtime.MAX_APPEND


# Words


@pytest.mark.parametrize("limits", [{"history_tokens": 1000}])
async def test_a_long_question(daemon: Daemon, talk: Talk) -> None:
    """A reply sees the newest of what was said, and the conversation keeps no more than replies can see."""
    await talk.update(output_modalities=["text"])
    for number in range(100):
        await talk.connection.conversation.item.create(item=message(f"{number} " + "word " * 390))  # type: ignore[arg-type]
    daemon.backend.attempts = [gives("Fine.")]
    await talk.connection.response.create()
    await talk.done()
    [turn] = daemon.backend.turns
    assert [line.split()[0] for line in (turn.text or "").splitlines()] == ["98", "99"]
    [conversation] = daemon.conversations._all.values()
    assert len(conversation.history.items) < 6


async def test_instructions_among_items(daemon: Daemon, talk: Talk) -> None:
    """What a client puts in as `system` is told to who replies, beside the session's instructions."""
    await talk.update(output_modalities=["text"], instructions="Be kind.")
    item = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Talk of wings."}]}
    await talk.connection.conversation.item.create(item=item)  # type: ignore[arg-type]
    daemon.backend.attempts = [gives("Fine.")]
    await talk.answer("hi")
    assert daemon.backend.turns[0].personality == "Be kind.\n\nTalk of wings."
    assert (daemon.backend.turns[0].text, history(daemon)) == ("hi", [])


async def test_before_all_others(daemon: Daemon, talk: Talk) -> None:
    """An item can be put at the beginning; `root`, which says so, is no item."""
    await talk.update(output_modalities=["text"])
    daemon.backend.attempts = [gives("One."), gives("Two.")]
    await talk.answer("hi")
    await talk.send({"type": "conversation.item.create", "previous_item_id": "root", "item": message("Once.")})
    assert (await talk.until("conversation.item.done")).previous_item_id is None
    await talk.answer("go on")
    assert history(daemon) == [("user", "Once.\nhi"), ("assistant", "One.")]
    error = await talk.refused({"type": "conversation.item.create", "item": {**message("x"), "id": "root"}})
    assert error.param == "item.id"


async def test_forgotten_before_it_was_heard(daemon: Daemon, talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that waits for what the history has no place for any more is an answer to the rest."""
    begun = asyncio.Event()

    async def never(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        begun.set()
        await asyncio.Event().wait()
        yield ""

    daemon.backend.attempts = [never]
    await talk.update(output_modalities=["text"])
    await talk.say(SECOND)
    await begun.wait()
    daemon.backend.attempts = [gives("Fine.")]
    trim = History.trim
    monkeypatch.setattr(History, "trim", lambda self, limit: [self.items.pop(0)])
    await talk.connection.conversation.item.create(item=message("What time is it?"))  # type: ignore[arg-type]
    assert (await talk.until("conversation.item.input_audio_transcription.failed")).error.code == "cancelled"
    monkeypatch.setattr(History, "trim", trim)
    assert (await talk.done()).status == "completed"
    assert "did not catch" in "".join(e.delta for e in talk.events if e.type == "response.output_text.delta")


# What is not read


LIMIT = 16 << 20  # bytes; more than the kernel takes in


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Connection, int]]:
    """At every event, to whom, and how much waited for them."""
    monkeypatch.setattr(realtime, "MAX_PENDING", LIMIT)
    seen, send = [], Outbox.send

    def watched(self: Outbox, type: str, **fields: Any) -> None:
        send(self, type, **fields)
        seen.append((self._connection, self._pending))

    monkeypatch.setattr(Outbox, "send", watched)
    return seen


@asynccontextmanager
async def one_who_does_not_read(daemon: Daemon) -> AsyncIterator[ClientConnection]:
    """Returns when the daemon has given up the answer: it never ends by itself."""

    async def endless(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        while True:
            yield SECOND
            await asyncio.sleep(0)

    daemon.backend.attempts = [gives("One. "), endless]
    url = f"{daemon.base.replace('http', 'ws')}/v1/realtime?model=auto"
    async with connect(url, max_queue=1) as client:
        for event in ({"type": "conversation.item.create", "item": message("hi")}, {"type": "response.create"}):
            await client.send(json.dumps(event))
        await until(lambda: daemon.backend.running == 1)
        await until(lambda: daemon.backend.running == 0)
        yield client


async def test_a_slow_reader(daemon: Daemon, sent: list[tuple[Connection, int]]) -> None:
    """Nothing more is made for a client that lets too much wait; it is told so when it reads again."""
    async with one_who_does_not_read(daemon) as client:
        assert LIMIT / 2 < max(pending for _, pending in sent) <= LIMIT
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                assert (await receive(client))["type"] != "response.done"
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "this client reads too slowly")


async def test_one_who_never_reads(
    daemon: Daemon, sent: list[tuple[Connection, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not even read the farewell is cut off, and its conversation waits for it."""
    monkeypatch.setattr(closing, "CLOSE_SECONDS", 0.0)
    async with one_who_does_not_read(daemon) as client:
        await sent[0][0].wait_closed()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await client.recv()
    assert closed.value.rcvd is None
    [conversation] = daemon.conversations._all.values()
    assert conversation.leave is None


# Afterwards


async def test_turns_are_timed(daemon: Daemon, talk: Talk) -> None:
    """/metrics has how long the stages of turns took, and how turns ended."""
    daemon.backend.attempts = [gives("What time is it?"), gives("Noon."), gives(SECOND)]
    await talk.say(SECOND)
    await talk.done()
    told = (await daemon.http.get("/metrics")).text.splitlines()
    for until_ in ("heard", "reply_first_token", "speak_first_audio", "total"):
        assert f'echod_turn_seconds_count{{until="{until_}"}} 1.0' in told
    assert 'echod_turns_total{status="completed"} 1.0' in told
    assert not [line for line in told if "video_first_frame" in line]
