"""A conversation over /v1/realtime, held by the stock client of the openai package."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed

from echod.speech.backend import Failure, Voice
from tests.drivers.asking import SECOND, history, make_role, until
from tests.drivers.talking import HANG, Talk, message
from tests.stand_ins.backend import VOICE, fails, gives, silent
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import PORTRAIT


async def events_until(connection: AsyncRealtimeConnection, kind: str) -> list[Any]:
    """Every event up to the first of this type."""
    events = []
    async with asyncio.timeout(20):
        while True:
            event = await connection.recv()
            events.append(event)
            if event.type == kind:
                return events


async def test_a_typed_turn(daemon: Daemon, client: AsyncOpenAI) -> None:
    """Words are answered with words and sound, in the order that Realtime promises."""
    daemon.backend.attempts = [gives("Good ", "evening. ", "Sit down."), gives(SECOND), gives(SECOND)]
    async with client.realtime.connect(model="auto") as connection:
        await connection.session.update(session={"type": "realtime", "instructions": "Be kind."})
        await connection.conversation.item.create(item=message("Hello"))  # type: ignore[arg-type]
        await connection.response.create()
        events = await events_until(connection, "response.done")
    kinds = [event.type for event in events]
    assert kinds[:4] == ["session.created", "session.updated", "conversation.item.added", "conversation.item.done"]
    assert kinds[4:8] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
    ]
    assert kinds[-6:] == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert set(kinds[8:-6]) == {"response.output_audio_transcript.delta", "response.output_audio.delta"}
    words = "".join(event.delta for event in events if event.type == "response.output_audio_transcript.delta")
    sound = b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
    assert words == "Good evening. Sit down." and sound == 2 * SECOND
    done = events[-1].response
    assert done.status == "completed" and done.output[0].content[0].transcript == words
    assert done.echod["reply_first_token_ms"] <= done.echod["speak_first_audio_ms"] <= done.echod["total_ms"]
    assert "Be kind." in daemon.backend.turns[0].personality and daemon.backend.turns[0].text == "Hello"


async def test_history(daemon: Daemon, talk: Talk) -> None:
    """A reply sees what was said before, by both."""
    daemon.backend.attempts = [gives("One."), gives(SECOND), gives("Two."), gives(SECOND)]
    await talk.answer("first")
    await talk.answer("second")
    assert history(daemon) == [("user", "first"), ("assistant", "One.")]
    assert daemon.backend.turns[-1].text == "second"


async def test_text_alone(daemon: Daemon, talk: Talk) -> None:
    """Asked for text, nothing is spoken."""
    daemon.backend.attempts = [gives("Only ", "words.")]
    await talk.update(output_modalities=["text"])
    done = await talk.answer("hi")
    deltas = [event.delta for event in talk.events if event.type == "response.output_text.delta"]
    assert deltas == ["Only ", "words."] and done.output[0].content[0].text == "Only words."
    assert len(daemon.backend.calls) == 1


async def test_a_spoken_turn(daemon: Daemon, talk: Talk) -> None:
    """What is said is committed, heard, shown as a transcript, and answered."""
    daemon.backend.attempts = [gives("What time is it?"), gives("Noon."), gives(SECOND)]
    for _ in range(10):
        await talk.connection.input_audio_buffer.append(audio=base64.b64encode(SECOND[:4800]).decode())
    await talk.connection.input_audio_buffer.commit()
    await talk.connection.response.create()
    done = (await talk.until("response.done")).response
    kinds = [event.type for event in talk.events]
    assert kinds.index("input_audio_buffer.committed") < kinds.index("conversation.item.added")
    heard = next(e for e in talk.events if e.type == "conversation.item.input_audio_transcription.completed")
    assert heard.transcript == "What time is it?" and heard.usage.seconds == pytest.approx(1.0, abs=0.02)
    assert daemon.backend.turns[0].text == "What time is it?"
    assert done.echod["heard_ms"] <= done.echod["reply_first_token_ms"]


async def speak_up(talk: Talk) -> None:
    await talk.connection.input_audio_buffer.append(audio=base64.b64encode(SECOND).decode())
    await talk.connection.input_audio_buffer.commit()
    await talk.connection.response.create()


async def test_a_model_that_hears(daemon: Daemon, talk: Talk) -> None:
    """With understanding = omni what was said goes to the reply model as sound; nobody hears it first."""
    daemon.settings.now = daemon.changed(understanding="omni")
    await talk.update(audio={"input": {"transcription": None}})
    daemon.backend.attempts = [gives("Noon."), gives(SECOND)]
    await speak_up(talk)
    assert (await talk.until("response.done")).response.status == "completed"
    [turn] = daemon.backend.turns
    assert turn.sound is not None and len(turn.sound) == pytest.approx(32000, rel=0.02)
    assert [call.model for call in daemon.backend.calls] == ["model-r", "model-s"]


async def test_a_model_that_is_deaf(daemon: Daemon, talk: Talk) -> None:
    """With understanding = omni, a reply model that takes words only is given what was heard."""
    daemon.settings.now = daemon.changed(understanding="omni")
    daemon.backend.hears_turns = False
    daemon.backend.attempts = [gives("What time is it?"), gives("Noon."), gives(SECOND)]
    await speak_up(talk)
    await talk.until("response.done")
    assert [(turn.text, turn.sound) for turn in daemon.backend.turns] == [("What time is it?", None)]


async def test_silence_is_not_answered(daemon: Daemon, talk: Talk) -> None:
    """Where no words were heard, the role says so and no model makes some up."""
    daemon.backend.attempts = [gives(""), gives(SECOND)]
    await talk.connection.input_audio_buffer.append(audio=base64.b64encode(SECOND).decode())
    await talk.connection.input_audio_buffer.commit()
    await talk.connection.response.create()
    await talk.until("response.done")
    assert "did not catch" in talk.words() and not daemon.backend.turns


async def test_tokens_that_wait_for_the_sound(daemon: Daemon, talk: Talk) -> None:
    """A sentence is spoken before the next one is known: the model may wait until the person has heard it."""
    heard = asyncio.Event()

    async def waits(call: Any, text: AsyncIterator[str]) -> AsyncIterator[str]:
        for number in range(3):
            yield f"Sentence {number} is here. "
            await heard.wait()
            heard.clear()

    daemon.backend.attempts = [waits, gives(SECOND), gives(SECOND), gives(SECOND)]  # type: ignore[list-item]
    await talk.ask("hi")
    for _ in range(3):
        await talk.until("response.output_audio.delta")
        heard.set()
    assert (await talk.until("response.done")).response.status == "completed"


async def test_an_interrupted_answer(daemon: Daemon, talk: Talk) -> None:
    """Cancelling ends reply and voice, and the history keeps what was heard by then."""
    forever = asyncio.Event()

    async def endless(call: Any, text: AsyncIterator[str]) -> AsyncIterator[str]:
        yield "First sentence, rather long. Second sentence. "
        await forever.wait()

    daemon.backend.attempts = [endless, gives(SECOND * 10), gives(SECOND * 10)]  # type: ignore[list-item]
    await talk.ask("hi")
    await talk.until("response.output_audio.delta")
    await talk.connection.response.cancel()
    done = (await talk.until("response.done")).response
    assert done.status == "cancelled" and done.status_details.reason == "client_cancelled"
    assert daemon.backend.running == 0
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    await talk.answer("go on")
    said = dict(history(daemon)).get("assistant", "")
    assert "Second" not in said and len(said) < len("First sentence, rather long.")


async def test_truncating(daemon: Daemon, talk: Talk) -> None:
    """The client knows best what was heard of an answer."""
    daemon.backend.attempts = [gives("One sentence. ", "Another sentence."), gives(SECOND), gives(SECOND)]
    item = (await talk.answer("hi")).output[0].id
    await talk.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=1000)
    assert (await talk.until("conversation.item.truncated")).transcript == "One sentence. "
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    await talk.answer("go on")
    assert history(daemon)[-1] == ("assistant", "One sentence. ")


async def test_a_new_utterance_interrupts(daemon: Daemon, talk: Talk) -> None:
    """Whoever speaks again while the role speaks is answered instead."""
    forever = asyncio.Event()

    async def endless(call: Any, text: AsyncIterator[str]) -> AsyncIterator[str]:
        yield "I have a lot to say. "
        await forever.wait()

    daemon.backend.attempts = [endless, gives(SECOND)]  # type: ignore[list-item]
    await talk.ask("hi")
    await talk.until("response.output_audio.delta")
    daemon.backend.attempts = [gives("As you like."), gives(SECOND)]
    await talk.ask("stop")
    first = (await talk.until("response.done")).response
    assert first.status == "cancelled" and first.status_details.reason == "turn_detected"
    assert (await talk.until("response.done")).response.status == "completed"


async def test_spoken_before_the_answer(daemon: Daemon, talk: Talk) -> None:
    """Whoever goes on to speak before the answer has begun is answered to all they said."""
    begun, heard = asyncio.Event(), asyncio.Event()

    async def slowly(call: Any, text: AsyncIterator[str]) -> AsyncIterator[str]:
        begun.set()
        await heard.wait()
        yield "What time is it"

    daemon.backend.attempts = [slowly]  # type: ignore[list-item]
    await talk.say(SECOND)
    await begun.wait()
    daemon.backend.attempts = [gives("in Paris?"), gives("Noon."), gives(SECOND)]
    await talk.say(SECOND)
    assert (await talk.done()).status == "cancelled"
    await talk.until("conversation.item.input_audio_transcription.completed", transcript="in Paris?")
    heard.set()
    assert (await talk.done()).status == "completed"
    assert (daemon.backend.turns[0].text, history(daemon)) == ("What time is it\nin Paris?", [])


async def test_cancelled_before_it_was_heard(daemon: Daemon, talk: Talk) -> None:
    """What nobody wants answered is not heard to its end, and the next answer does not wait for it."""
    begun = asyncio.Event()

    async def never(call: Any, text: AsyncIterator[str]) -> AsyncIterator[str]:
        begun.set()
        await asyncio.Event().wait()
        yield ""

    daemon.backend.attempts = [never]  # type: ignore[list-item]
    await talk.say(SECOND)
    await begun.wait()
    await talk.connection.response.cancel()
    assert (await talk.done()).status == "cancelled"
    failed = await talk.until("conversation.item.input_audio_transcription.failed")
    assert (failed.error.code, daemon.backend.running) == ("cancelled", 0)
    daemon.backend.attempts = [gives("Noon."), gives(SECOND)]
    assert (await talk.answer("What time is it?")).status == "completed"
    assert daemon.backend.turns[0].text == "What time is it?"


@pytest.mark.parametrize("output", ["before", "after"])
async def test_a_reply_that_fails(daemon: Daemon, talk: Talk, output: str) -> None:
    """The person hears something honest, the response says what failed, and the conversation goes on."""
    broken = Failure("quota", "used up")
    begun = ["Well, you see. "] if output == "after" else []
    daemon.backend.attempts = [fails(broken, *begun), *[gives(SECOND)] * 3]
    done = await talk.answer("hi")
    assert done.status == "failed" and done.status_details.error.code == "upstream_reply"
    assert "Sorry" in talk.words() and talk.sound()
    daemon.backend.attempts = [gives("Better now."), gives(SECOND)]
    assert (await talk.answer("again")).status == "completed"


async def test_a_reply_without_an_end(daemon: Daemon, talk: Talk) -> None:
    """A reply cut short is incomplete, in Realtime's own word for why, and no error."""
    daemon.backend.attempts = [fails(Failure("length", "enough"), "Well, you "), gives(SECOND)]
    done = await talk.answer("hi")
    assert (done.status, done.status_details.reason) == ("incomplete", "max_output_tokens")
    assert done.status_details.error is None
    assert talk.words() == "Well, you " and talk.sound() == SECOND


async def test_the_voice_follows_the_words(daemon: Daemon, talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A voice of nobody's choice is a Chinese one from the first Chinese sentence on; one that was chosen stays."""

    async def default_voice(language: str | None) -> Voice:
        return Voice("scripted", f"model-{language}", "anna")

    monkeypatch.setattr(daemon.backend, "default_voice", default_voice)
    for voices in (["model-None", "model-zh", "model-zh"], ["model-s"] * 3):
        daemon.backend.calls.clear()
        daemon.backend.attempts = [gives("OK! ", "没问题。", "Bye."), *[gives(SECOND)] * 3]
        await talk.answer("hi")
        assert [call.model for call in daemon.backend.calls[1:]] == voices
        await talk.update(audio={"output": {"voice": str(VOICE)}})


async def test_a_voice_that_fails(daemon: Daemon, talk: Talk) -> None:
    """Without a voice the words still come, and the response says what failed."""
    daemon.backend.attempts = [gives("One sentence. ", "Another one."), fails(Failure("auth", "wrong key"))]
    done = await talk.answer("hi")
    assert done.status == "failed" and done.status_details.error.code == "upstream_tts"
    assert talk.words() == "One sentence. Another one."


async def test_hearing_that_fails(daemon: Daemon, talk: Talk) -> None:
    """Speech that cannot be heard is told of, and apologised for."""
    daemon.backend.attempts = [fails(Failure("retired", "no such model")), gives(SECOND), gives(SECOND)]
    await talk.connection.input_audio_buffer.append(audio=base64.b64encode(SECOND).decode())
    await talk.connection.input_audio_buffer.commit()
    await talk.connection.response.create()
    done = (await talk.until("response.done")).response
    failed = next(e for e in talk.events if e.type == "conversation.item.input_audio_transcription.failed")
    assert failed.error.code == done.status_details.error.code == "upstream_model_retired"
    assert "Sorry" in talk.words()


def session(**fields: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": fields}


def heard(**fields: Any) -> dict[str, Any]:
    return session(audio={"input": fields})


def create(item: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": item, **fields}


DETECTION = "session.audio.input.turn_detection"
PICTURE = {"type": "message", "role": "user", "content": [{"type": "input_image"}]}


@pytest.mark.parametrize(
    ("event", "param"),
    [
        (session(output_modalities=["smell"]), "session.output_modalities"),
        (session(output_modalities=["video"]), "output_modalities"),
        (session(colour="red"), "session.colour"),
        (session(type="transcription"), "session.type"),
        (session(audio={"output": {"voice": "nobody"}}), "voice"),
        (session(video={"view": "body"}), "session.video.view"),
        (heard(format={"type": "audio/pcmu"}), "session.audio.input.format"),
        (heard(turn_detection={"type": "telepathy"}), "session.audio.input.turn_detection.type"),
        (heard(turn_detection={"type": "semantic_vad", "eagerness": "wild"}), f"{DETECTION}.eagerness"),
        (heard(turn_detection={"type": "semantic_vad", "threshold": 0.5}), f"{DETECTION}.threshold"),
        (heard(turn_detection={"threshold": 7}), "session.audio.input.turn_detection.threshold"),
        (heard(turn_detection={"mood": 7}), "session.audio.input.turn_detection.mood"),
        ({"type": "session.update"}, "session"),
        ({"type": "input_audio_buffer.append", "audio": "%%%"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": 7}, "audio"),
        (create({"type": "function_call"}), "item.call_id"),
        (create({"type": "message", "role": "king"}), "item.role"),
        (create(PICTURE), "item.content[0]"),
        (create(message("x" * 10_001)), "item.content"),
        (create(message("x"), previous_item_id="none"), "previous_item_id"),
        ({"type": "conversation.item.truncate", "item_id": "none", "content_index": 0, "audio_end_ms": 1}, "item_id"),
        ({"type": "response.create", "response": {"tools": [{}]}}, "response.tools[0].name"),
        ({"type": "response.create", "response": 7}, "response"),
        ({"type": "response.create", "response": {"colour": "red"}}, "response.colour"),
        ({"type": "response.create", "response": {"input": []}}, "response.input"),
        ({"type": "response.create", "response": {"conversation": "none"}}, "response.conversation"),
        ({"type": "response.create", "response": {"output_modalities": ["video"]}}, "output_modalities"),
        ({"type": "response.create", "response": {"audio": {"output": {"voice": "nobody"}}}}, "voice"),
        ({"type": "conversation.item.delete"}, "item_id"),
        ({"type": "no.such.event"}, "type"),
        ({"type": 7}, "type"),
    ],
)
async def test_what_is_refused(daemon: Daemon, talk: Talk, event: dict[str, Any], param: str | None) -> None:
    """A wrong event is answered with what is wrong and which event it was; the conversation goes on."""
    error = await talk.refused({**event, "event_id": "mine"})
    assert (error.code, error.param, error.event_id) == ("invalid_request", param, "mine") and len(error.message) > 10
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    assert (await talk.answer("hi")).status == "completed"


async def test_at_the_wrong_moment(daemon: Daemon, talk: Talk) -> None:
    """What cannot be done just now is refused by the code that OpenAI has for it: clients pass over these."""
    retrieve = {"type": "conversation.item.retrieve", "item_id": "gone", "event_id": "rci_gone"}
    error = await talk.refused(retrieve)
    assert (error.code, error.event_id, error.param) == ("item_retrieve_invalid_item_id", "rci_gone", "item_id")
    cancel: dict[str, Any] = {"type": "response.cancel"}
    assert (await talk.refused(cancel)).code == "response_cancel_not_active"
    commit = {"type": "input_audio_buffer.commit"}
    assert (await talk.refused(commit)).code == "input_audio_buffer_commit_empty"
    daemon.backend.attempts = [silent]
    await talk.ask("hi")
    await talk.until("response.created")
    assert (await talk.refused({"type": "response.create"})).code == "conversation_already_has_active_response"
    assert (await talk.refused({**cancel, "response_id": "another"})).code == "response_cancel_not_active"
    await talk.send(cancel)
    assert (await talk.done()).status == "cancelled"


async def test_asked_to_go_on(daemon: Daemon, talk: Talk) -> None:
    """With nothing new said a response goes on, or does what its instructions say, which are those of one response."""
    daemon.backend.attempts = [gives(each) for each in ("Fine.", "Well.", "Nice day.", "Quite.")]
    await talk.update(output_modalities=["text"], instructions="Be kind.")
    await talk.answer("hi")
    for response in ({}, {"instructions": "Be kind.\nTalk of the weather."}):
        await talk.send({"type": "response.create", "response": response})
        assert (await talk.done()).status == "completed"
    await talk.answer("really?")
    turns = daemon.backend.turns[1:]
    assert [turn.text for turn in turns] == ["Please go on.", "Talk of the weather.", "really?"]
    daemon.backend.attempts = [gives("Bye."), gives("Well.")]
    await talk.send(create({"type": "message", "role": "system", "content": [{"type": "text", "text": "Say bye."}]}))
    for text in ("Say bye.", "Please go on."):  # what an agent is told by the way is to be acted on, and once
        await talk.send({"type": "response.create"})
        assert (await talk.done()).status == "completed" and daemon.backend.turns[-1].text == text
    turns = turns[:3]
    assert [turn.personality for turn in turns] == ["Be kind.", "Be kind.\n\nTalk of the weather.", "Be kind."]
    assert [(each.author, each.text) for each in turns[-1].history] == [
        ("user", "hi"), ("assistant", "Fine.\nWell.\nNice day."),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "silence", "told"),
    [
        ({"type": "semantic_vad"}, 500, {"eagerness": "auto"}),
        ({"type": "semantic_vad", "eagerness": "low"}, 1000, {"eagerness": "low"}),
        ({"type": "semantic_vad", "eagerness": "high", "interrupt_response": False}, 300, {"eagerness": "high"}),
        ({"type": "server_vad", "silence_duration_ms": 700}, 700, {"silence_duration_ms": 700, "threshold": 0.5}),
    ],
)
async def test_turn_detection(
    daemon: Daemon, client: AsyncOpenAI, given: dict[str, Any], silence: int, told: dict[str, Any]
) -> None:
    """Turns are detected unless a client wants it otherwise; how eager to be is for how long to wait."""
    async with client.realtime.connect(model="auto") as connection:
        talk = Talk(connection)
        created = await talk.until("session.created")
        assert created.session.audio.input.turn_detection.silence_duration_ms == 500
        for _ in range(2):  # said again it is the same
            await talk.update(audio={"input": {"turn_detection": given}})
        shown = talk.events[-1].session.audio.input.turn_detection.to_dict()
        assert given.items() | told.items() <= shown.items()
        assert ("eagerness" in shown) != ("threshold" in shown)
        [conversation] = daemon.conversations._all.values()
        assert conversation.settings.detection and conversation.settings.detection.silence_ms == silence
        await talk.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
        assert "eagerness" not in talk.events[-1].session.audio.input.turn_detection.to_dict()
        await talk.push_to_talk()
        assert talk.events[-1].session.audio.input.turn_detection is None


async def test_preset_voices(daemon: Daemon, talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of a voice of OpenAI's speaks the one that would speak anyway, and it is said which; others are
    looked for."""
    assert talk.events[-1].session.audio.output.voice == str(VOICE)
    for voice in ("ash", {"id": "marin"}, "anna", {"id": "anna"}):
        await talk.update(audio={"output": {"voice": voice}})
        assert talk.events[-1].session.audio.output.voice in (str(VOICE), "anna")
    assert (await talk.refused(session(audio={"output": {"voice": {"id": "nobody"}}}))).param == "voice"
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    await talk.connection.response.create(response={"audio": {"output": {"voice": "cedar"}}})
    assert (await talk.done()).status == "completed"
    ours = Voice("scripted", "model-s", "cedar")

    async def voices() -> list[Voice]:
        return [VOICE, ours]

    monkeypatch.setattr(daemon.backend, "voices", voices)
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    await talk.connection.response.create(response={"audio": {"output": {"voice": "cedar"}}})
    assert (await talk.done()).status == "completed"


async def test_looking_at_items(daemon: Daemon, talk: Talk) -> None:
    """An item can be looked at, and taken out of what was said."""
    daemon.backend.attempts = [gives("One."), gives("Two.")]
    await talk.update(output_modalities=["text"])
    done = await talk.answer("first")
    answer = done.output[0].id
    await talk.connection.conversation.item.retrieve(item_id=answer)
    assert (await talk.until("conversation.item.retrieved")).item.to_dict() == done.output[0].to_dict()
    await talk.connection.conversation.item.delete(item_id=answer)
    assert (await talk.until("conversation.item.deleted")).item_id == answer
    assert (await talk.refused({"type": "conversation.item.retrieve", "item_id": answer})).param == "item_id"
    await talk.answer("second")
    assert (daemon.backend.turns[-1].text, history(daemon)) == ("first\nsecond", [])


async def test_deleting_what_is_made(daemon: Daemon, talk: Talk) -> None:
    """Who takes out an answer in the making wants no more of it, and what is being heard is not waited for."""
    daemon.backend.attempts = [silent]
    await talk.ask("hi")
    answer = (await talk.until("response.output_item.added")).item.id
    await talk.connection.conversation.item.delete(item_id=answer)
    assert (await talk.done()).status == "cancelled"
    await talk.until("conversation.item.deleted")
    daemon.backend.attempts = [silent]
    await talk.append(SECOND)
    await talk.connection.input_audio_buffer.commit()
    spoken = (await talk.until("input_audio_buffer.committed")).item_id
    await talk.connection.conversation.item.delete(item_id=spoken)
    await talk.until("conversation.item.input_audio_transcription.failed")
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    await talk.connection.response.create()
    assert (await talk.done()).status == "completed"
    assert (daemon.backend.turns[-1].text, history(daemon)) == ("hi", [])


# With a role: greetings, and video


async def test_a_greeting(daemon: Daemon, ada: Talk) -> None:
    """Asked to speak first, a role greets in its own words; they are part of the history."""
    daemon.backend.attempts = [gives(SECOND)]
    await ada.connection.response.create()
    assert (await ada.until("response.done")).response.status == "completed"
    assert ada.words() == "Hello, I am Ada." and not daemon.backend.turns
    daemon.backend.attempts = [gives("Yes."), gives(SECOND)]
    await ada.answer("really?")
    assert history(daemon) == [("user", "Please greet me."), ("assistant", "Hello, I am Ada.")]
    assert "You are Ada." in daemon.backend.turns[0].personality


async def test_personality_stays_inside(ada: Talk) -> None:
    """What makes a role think is not shown to who talks to it."""
    created = await ada.until("session.created")
    assert created.session.audio.output.voice == str(VOICE)
    assert "You are Ada" not in str(created.to_dict()) and created.session.model == "role:ada"


async def test_a_role_that_changes(daemon: Daemon, ada: Talk) -> None:
    """Whoever is talking to a role goes on with what has become of it, and hears when it has gone."""
    await ada.update(output_modalities=["video"])
    answer = await daemon.http.put("/v1/roles/ada", files={"portrait": ("q.png", PORTRAIT + b"!")})
    assert answer.status_code == 200, answer.text
    daemon.backend.attempts = [gives("One."), gives(SECOND)]
    await ada.ask("hi")
    await ada.until("response.output_video.added")
    await daemon.hands.complete(await daemon.hands.begin())
    assert (await ada.done()).status == "completed"
    await daemon.http.delete("/v1/roles/ada")
    await ada.connection.conversation.item.create(item=message("and now?"))  # type: ignore[arg-type]
    assert (await ada.refused({"type": "response.create"})).code == "not_found"
    daemon.backend.attempts = [gives("Two."), gives(SECOND)]
    await ada.connection.response.create(response={"output_modalities": ["audio"]})
    assert (await ada.done()).status == "completed"


async def test_video(daemon: Daemon, ada: Talk) -> None:
    """Every sentence becomes a job ahead of batch jobs; its clip is announced in order, with addresses that work."""
    batch = await daemon.submit()
    await ada.update(output_modalities=["video"])
    breaks_off = fails(Failure("connection", "broken off"), SECOND)  # which nobody has heard yet
    daemon.backend.attempts = [gives("One. ", "Two."), breaks_off, gives(SECOND), gives(SECOND * 2)]
    await ada.ask("hi")
    added = [await ada.until("response.output_video.added") for _ in range(2)]
    assert [event.sentence for event in added] == ["One. ", "Two."] and [event.index for event in added] == [0, 1]
    jobs = [await daemon.hands.begin() for _ in range(2)]
    assert [job.id for job in jobs] == [event.video_id for event in added] and batch not in {job.id for job in jobs}
    assert [job.speech and job.speech.seconds for job in jobs] == [1.0, 2.0]
    assert all(job.options.live for job in jobs)
    await daemon.hands.grow(jobs[0], b"first fragment")
    await daemon.hands.complete(jobs[1])  # by a quicker worker
    await daemon.hands.complete(jobs[0])
    done = [await ada.until("response.output_video.done") for _ in range(2)]
    assert [event.video_id for event in done] == [job.id for job in jobs]
    assert (await daemon.http.get(done[0].url)).content == b"0123456789"
    assert (await daemon.http.get(added[1].stream_url)).status_code == 200
    response = (await ada.until("response.done")).response
    assert response.status == "completed" and ada.words() == "One. Two." and not ada.sound()
    assert response.echod["video_first_frame_ms"] is not None
    assert not list(daemon.conversations.scratch.iterdir())


async def test_the_last_sentence_waits_for_the_first_clip(daemon: Daemon, ada: Talk) -> None:
    """A sentence is on its way to a worker while the model still thinks about the next."""
    dispatched = asyncio.Event()

    async def waits(call: Any, text: AsyncIterator[str]) -> AsyncIterator[str]:
        yield "The first sentence. "
        await dispatched.wait()
        yield "The last one."

    daemon.backend.attempts = [waits, gives(SECOND), gives(SECOND)]  # type: ignore[list-item]
    await ada.update(output_modalities=["video"])
    await ada.ask("hi")
    await ada.until("response.output_video.added")
    first = await daemon.hands.begin()
    dispatched.set()
    await ada.until("response.output_video.added")
    await daemon.hands.complete(first)
    await daemon.hands.complete(await daemon.hands.begin())
    assert (await ada.until("response.done")).response.status == "completed"


async def test_interrupted_video(daemon: Daemon, ada: Talk) -> None:
    """Interrupting ends the jobs of an answer, those that wait and those that run."""
    await ada.update(output_modalities=["video"])
    daemon.backend.attempts = [gives("One. ", "Two."), gives(SECOND), gives(SECOND)]
    await ada.ask("hi")
    added = [await ada.until("response.output_video.added") for _ in range(2)]
    running = await daemon.hands.begin()
    await ada.connection.response.cancel()
    assert (await ada.until("response.done")).response.status == "cancelled"
    assert daemon.hands.cancelled == [running.id]
    assert (await daemon.video(added[1].video_id))["status"] == "cancelled"
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    await ada.update(output_modalities=["audio"])
    await ada.answer("go on")
    assert ("assistant", "") not in history(daemon)


async def test_a_clip_that_fails(daemon: Daemon, ada: Talk) -> None:
    """A sentence whose clip fails leaves the others, and the response says so."""
    await ada.update(output_modalities=["video"])
    daemon.backend.attempts = [gives("One. ", "Two."), gives(SECOND), gives(SECOND)]
    await ada.ask("hi")
    for _ in range(2):
        await ada.until("response.output_video.added")
    await daemon.hands.fail(await daemon.hands.begin(), "not_finite")
    second = await daemon.hands.begin()
    await daemon.hands.complete(second)
    assert (await ada.until("response.output_video.done")).video_id == second.id
    response = (await ada.until("response.done")).response
    assert response.status == "failed" and response.status_details.error.code == "not_finite"


# Connections


async def test_coming_back(daemon: Daemon, client: AsyncOpenAI) -> None:
    """A conversation waits for its person: history and settings are there again."""
    async with client.realtime.connect(model="auto") as connection:
        talk = Talk(connection)
        created = await talk.until("session.created")
        await talk.update(output_modalities=["text"], instructions="Be brief.")
        daemon.backend.attempts = [gives("One.")]
        await talk.answer("first")
    async with client.realtime.connect(model="auto", extra_query={"conversation": created.session.id}) as connection:
        talk = Talk(connection)
        again = await talk.until("session.created")
        assert again.session.id == created.session.id and again.session.instructions == "Be brief."
        daemon.backend.attempts = [gives("Two.")]
        await talk.answer("second")
    assert history(daemon) == [("user", "first"), ("assistant", "One.")]


async def test_cut_off_while_heard(daemon: Daemon, client: AsyncOpenAI) -> None:
    """What somebody said is heard again when they are back, and answered."""

    async def never(call: Any, text: AsyncIterator[str]) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    daemon.backend.attempts = [never]  # type: ignore[list-item]
    async with client.realtime.connect(model="auto") as connection:
        talk = Talk(connection)
        created = await talk.until("session.created")
        await talk.say(SECOND)
        await talk.until("response.created")
        await until(lambda: daemon.backend.running == 1)
    [conversation] = daemon.conversations._all.values()
    await until(lambda: conversation.leave is None)
    assert daemon.backend.running == 0
    daemon.backend.attempts = [gives("What time is it?"), gives("Noon."), gives(SECOND)]
    async with client.realtime.connect(model="auto", extra_query={"conversation": created.session.id}) as connection:
        talk = Talk(connection)
        await connection.response.create()
        assert (await talk.done()).status == "completed"
        assert "conversation.item.input_audio_transcription.completed" in [event.type for event in talk.events]
    assert daemon.backend.turns[-1].text == "What time is it?"


async def test_only_one_connection(daemon: Daemon, client: AsyncOpenAI) -> None:
    """Who comes back while an old connection hangs takes the conversation over."""
    async with client.realtime.connect(model="auto") as old:
        created = await Talk(old).until("session.created")
        async with client.realtime.connect(model="auto", extra_query={"conversation": created.session.id}) as new:
            await Talk(new).until("session.created")
            with pytest.raises(ConnectionClosed) as closed:
                await old.recv()
            assert closed.value.rcvd is not None and "another connection" in closed.value.rcvd.reason


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"model": "role:nobody"}, "not_found"),
        ({"model": "gpt-realtime"}, "model_not_loaded"),
        ({"model": "auto", "conversation": "sess_unknown"}, "not_found"),
    ],
)
async def test_nobody_there(daemon: Daemon, client: AsyncOpenAI, query: dict[str, str], code: str) -> None:
    """A role or conversation that is not here is said to be missing, and the connection closed."""
    async with client.realtime.connect(model="x", extra_query=query) as connection:
        error = (await Talk(connection).until("error")).error
        assert error.code == code
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


async def test_somebody_elses_conversation(daemon: Daemon) -> None:
    """Knowing the id of a conversation is not enough to join it."""
    root, bob = await daemon.person("root", "admin"), await daemon.person("bob")
    clients = [AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key=person.token) for person in (root, bob)]
    async with clients[0] as client, client.realtime.connect(model="auto") as connection:
        created = await Talk(connection).until("session.created")
    query = {"conversation": created.session.id}
    async with clients[1] as client, client.realtime.connect(model="auto", extra_query=query) as connection:
        assert (await Talk(connection).until("error")).error.code == "not_found"


async def test_a_client_that_vanishes(daemon: Daemon, client: AsyncOpenAI) -> None:
    """A closed socket ends the answer and its jobs; the history keeps what was heard."""
    await make_role(daemon)
    forever = asyncio.Event()

    async def endless(call: Any, text: AsyncIterator[str]) -> AsyncIterator[str]:
        yield "One sentence. "
        await forever.wait()

    daemon.backend.attempts = [endless, gives(SECOND)]  # type: ignore[list-item]
    async with client.realtime.connect(model="role:ada") as connection:
        talk = Talk(connection)
        await talk.update(output_modalities=["video"])
        await talk.ask("hi")
        added = await talk.until("response.output_video.added")
    await until_job(daemon, added.video_id, "cancelled")
    assert daemon.backend.running == 0


async def until_job(daemon: Daemon, job_id: str, status: str) -> None:
    watcher = daemon.desk.feed.watch_job(await daemon.desk.find(job_id, None))
    try:
        async for event in watcher:
            if event.job.status == status:
                return
    finally:
        watcher.close()


async def test_twenty_conversations(daemon: Daemon, client: AsyncOpenAI) -> None:
    """Everybody hears the answer to their own words, and nothing is left behind."""

    async def echo(call: Any, text: AsyncIterator[str]) -> AsyncIterator[Any]:
        words = "".join([piece async for piece in text])
        yield f"You said {words}." if call.model == "model-r" else words.ljust(len(words) + len(words) % 2).encode()

    async def one(number: int) -> None:
        async with client.realtime.connect(model="auto") as connection:
            talk = Talk(connection)
            for turn in range(2):
                done = await talk.answer(f"{number} in turn {turn}")
                assert done.status == "completed"
            assert talk.words() == "".join(f"You said {number} in turn {turn}." for turn in range(2))

    class Echo(list[Any]):
        def pop(self, index: Any = 0) -> Any:
            return echo

    daemon.settings.now = daemon.changed(speech_calls=40)
    daemon.backend.attempts = Echo()
    await use_every_thread()
    before = Held.by(daemon)
    await asyncio.gather(*(one(number) for number in range(20)))
    with contextlib.suppress(TimeoutError):  # the daemon's side of the last sockets ends a moment after the client's
        async with asyncio.timeout(HANG):
            await until(lambda: Held.by(daemon) == before)
    assert Held.by(daemon) == before


class Held(NamedTuple):
    """What this process holds, and what lies in the state directory."""

    descriptors: int
    threads: int
    tasks: int
    files: list[Path]

    @classmethod
    def by(cls, daemon: Daemon) -> Held:
        descriptors, threads = (len(list(Path("/proc/self", name).iterdir())) for name in ("fd", "task"))
        return cls(descriptors, threads, len(asyncio.all_tasks()), sorted(daemon.config.state_dir.rglob("*")))


async def use_every_thread() -> None:
    """The loop's pool grows up to its size, while all of its threads are busy."""
    size = min(32, (os.cpu_count() or 1) + 4)  # as ThreadPoolExecutor has it
    busy = threading.Barrier(size)
    await asyncio.gather(*(asyncio.to_thread(busy.wait) for _ in range(size)))


async def test_a_removed_account_takes_its_conversations_along(daemon: Daemon) -> None:
    """The socket closes, and whoever gets the name next cannot return to what was said."""
    root, bob = await daemon.person("root", "admin"), await daemon.person("bob")
    client = AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key=bob.token)
    async with client, client.realtime.connect(model="auto") as connection:
        created = await Talk(connection).until("session.created")
        assert (await root.http.delete("/v1/accounts/bob")).status_code == 200
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    again = await daemon.person("bob")
    query = {"conversation": created.session.id}
    client = AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key=again.token)
    async with client, client.realtime.connect(model="auto", extra_query=query) as connection:
        assert (await connection.recv()).type == "error"


@pytest.mark.parametrize("limits", [{"understanding": "omni"}])
async def test_omni(daemon: Daemon, talk: Talk) -> None:
    """With understanding = omni the reply model gets the sound itself; the transcript comes beside it."""
    daemon.backend.attempts = [gives("A transcript."), gives("I heard you."), gives(SECOND)]
    await talk.connection.input_audio_buffer.append(audio=base64.b64encode(SECOND).decode())
    await talk.connection.input_audio_buffer.commit()
    await talk.connection.response.create()
    assert (await talk.until("response.done")).response.status == "completed"
    assert len(daemon.backend.turns[0].sound or b"") == pytest.approx(32000, abs=400)
    assert "conversation.item.input_audio_transcription.completed" in [event.type for event in talk.events]
    daemon.backend.attempts = [gives("Yes."), gives(SECOND)]
    await talk.answer("really?")
    assert history(daemon) == [("user", "A transcript."), ("assistant", "I heard you.")]
