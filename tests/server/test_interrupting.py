"""Answers that are interrupted, over /v1/realtime: at every stage, and by whatever interrupts."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from openai import AsyncOpenAI

from echod.conversation import dialogue
from echod.conversation.ear import Ear, SpeechStarted, SpeechStopped
from echod.jobs.job import Job
from echod.sound import flac
from echod.speech.backend import Call
from tests.drivers.asking import SECOND, history, until
from tests.drivers.talking import Talk, message
from tests.stand_ins.backend import gives
from tests.stand_ins.daemon import Daemon


class Endless:
    """An attempt that gives these and then no end; `stopped` is set when it is cancelled."""

    def __init__(self, *pieces: str | bytes) -> None:
        self.pieces = pieces
        self.stopped = asyncio.Event()

    async def __call__(self, call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        try:
            for piece in self.pieces:
                yield piece
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


def scratch(daemon: Daemon) -> list[Path]:
    return list(daemon.conversations.scratch.iterdir())


async def made(daemon: Daemon) -> list[Job]:
    return (await daemon.desk.list(None, newest_first=False))[0]


async def test_before_it_began(daemon: Daemon, talk: Talk) -> None:
    """A cancel right behind the response.create ends an answer that has not done anything yet."""
    await talk.ask("hi")
    await talk.connection.response.cancel()
    done = await talk.done()
    assert (done.status, done.status_details.reason) == ("cancelled", "client_cancelled")
    assert done.echod["total_ms"] is not None
    assert daemon.backend.turns == []


# Stages of an answer in video, each with how to let go of what holds it there


class Stage(NamedTuple):
    reach: Callable[[Daemon, Talk, pytest.MonkeyPatch], Awaitable[Callable[[], object]]]
    left: list[str]  # how its jobs are when it has been interrupted


async def speaking(daemon: Daemon, ada: Talk, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    daemon.backend.attempts[1] = Endless(SECOND)
    await ada.ask("hi")
    await until(lambda: daemon.backend.running == 2)
    return lambda: None


async def publishing(daemon: Daemon, ada: Talk, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    loop, begun, go_on, publish = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), flac.publish

    def slow(path: Path) -> Any:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        return publish(path)

    monkeypatch.setattr(flac, "publish", slow)
    await ada.ask("hi")
    await begun.wait()
    return go_on.set


async def accepting(daemon: Daemon, ada: Talk, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    begun, go_on, add = asyncio.Event(), asyncio.Event(), daemon.desk.rows.add

    async def slow(*job: Any) -> bool:
        begun.set()
        await go_on.wait()
        return await add(*job)

    monkeypatch.setattr(daemon.desk.rows, "add", slow)
    await ada.ask("hi")
    await begun.wait()
    return go_on.set


async def showing(daemon: Daemon, ada: Talk, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    await ada.ask("hi")
    for _ in range(2):
        await ada.until("response.output_video.added")
    await daemon.hands.grow(await daemon.hands.begin(), b"first fragment")
    return lambda: None


STAGES = [
    Stage(speaking, []),
    Stage(publishing, []),
    Stage(accepting, ["cancelled"]),
    Stage(showing, ["in_progress", "cancelled"]),
]


@pytest.mark.parametrize("speaks", [False, True])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.reach.__name__)
async def test_at_every_stage(
    daemon: Daemon, ada: Talk, monkeypatch: pytest.MonkeyPatch, stage: Stage, speaks: bool
) -> None:
    """Cancelling, or saying something new, leaves neither files nor jobs behind; the next answer is whole."""
    await ada.update(output_modalities=["video"])
    reply = Endless("One. ", "Two. ")
    daemon.backend.attempts = [reply, gives(SECOND), gives(SECOND)]
    let_go = await stage.reach(daemon, ada, monkeypatch)
    daemon.backend.attempts = [gives("And now?")]
    if speaks:
        await ada.append(SECOND)
        await ada.connection.input_audio_buffer.commit()
    else:
        await ada.connection.response.cancel()
    await reply.stopped.wait()
    let_go()
    done = await ada.done()
    assert (done.status, done.status_details.reason) == (
        "cancelled",
        "turn_detected" if speaks else "client_cancelled",
    )
    assert scratch(daemon) == []
    jobs = await made(daemon)
    assert [job.status for job in jobs] == stage.left
    assert daemon.hands.cancelled == [job.id for job in jobs if job.status == "in_progress"]
    if speaks:
        await ada.until("conversation.item.input_audio_transcription.completed")
    assert daemon.backend.running == 0
    daemon.backend.attempts = [gives("Fine.")]
    await ada.update(output_modalities=["text"])
    if not speaks:
        await ada.connection.conversation.item.create(item=message("And now?"))  # type: ignore[arg-type]
    await ada.connection.response.create()
    assert (await ada.done()).status == "completed"
    assert (daemon.backend.turns[-1].text or "").endswith("And now?")


async def test_after_a_clip_was_deleted(daemon: Daemon, ada: Talk) -> None:
    """A clip that somebody has removed does not keep the others from being cancelled."""
    await ada.update(output_modalities=["video"])
    daemon.backend.attempts = [Endless("One. Two. Three. "), *[gives(SECOND)] * 3]
    await ada.ask("hi")
    added = [(await ada.until("response.output_video.added")).video_id for _ in range(3)]
    await daemon.hands.complete(await daemon.hands.begin())
    await ada.until("response.output_video.done")
    await daemon.http.delete(f"/v1/videos/{added[0]}")
    await ada.connection.response.cancel()
    assert (await ada.done()).status == "cancelled"
    assert [job.status for job in await made(daemon)] == ["cancelled", "cancelled"]


# What is said beside an answer that it does not interrupt


@pytest.fixture
async def beside(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Every piece of sound is an utterance, and interrupts nothing."""
    monkeypatch.setattr(Ear, "feed", lambda self, sound: [SpeechStarted(0), SpeechStopped(1000, sound)])
    detection = {"type": "server_vad", "interrupt_response": False}
    await talk.update(output_modalities=["text"], audio={"input": {"turn_detection": detection}})
    return talk


async def say_beside(daemon: Daemon, talk: Talk, *replies: Any) -> None:
    """While an answer goes on, something is said and heard."""
    await talk.ask("hi")
    await talk.until("response.output_text.delta")
    daemon.backend.attempts = [gives("What?"), *replies]
    await talk.append(SECOND, piece=len(SECOND))
    await talk.until("conversation.item.input_audio_transcription.completed")
    assert len(daemon.backend.turns) == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_said_beside_an_answer(daemon: Daemon, beside: Talk, cancelled: bool) -> None:
    """It is answered once the answer in progress has ended, however that ends: there is one at a time."""
    go_on = asyncio.Event()

    async def long(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        yield "A long answer. "
        await go_on.wait()
        yield "Its end."

    daemon.backend.attempts = [long]
    await say_beside(daemon, beside, gives("Fine."))
    if cancelled:
        await beside.connection.response.cancel()
    else:
        go_on.set()
    assert (await beside.done()).status == ("cancelled" if cancelled else "completed")
    assert (await beside.done()).status == "completed"
    assert daemon.backend.turns[1].text == "What?"
    kinds = [event.type for event in beside.events if event.type in ("response.created", "response.done")]
    assert kinds == ["response.created", "response.done"] * 2


async def test_nobody_waits_for_what_was_said_beside(daemon: Daemon, beside: Talk) -> None:
    """Whoever leaves meanwhile is not answered any more."""
    daemon.backend.attempts = [Endless("A long answer. ")]
    await say_beside(daemon, beside)
    [conversation] = daemon.conversations._all.values()
    await beside.connection.close()
    await until(lambda: conversation.leave is None)
    assert (daemon.backend.running, len(daemon.backend.turns)) == (0, 1)


# What was heard of an answer that was made faster than it sounds

LONG = ("One sentence here. Another sentence there.", SECOND * 10, SECOND * 10)


def twenty_seconds() -> list[Any]:
    return [gives(piece) for piece in LONG]


async def test_speaking_while_the_last_answer_sounds(daemon: Daemon, talk: Talk) -> None:
    """An answer that is all sent and still played keeps what was heard until somebody spoke."""
    daemon.backend.attempts = twenty_seconds()
    assert (await talk.answer("hi")).status == "completed"
    daemon.backend.attempts = [gives("Stop."), gives("Fine."), gives(SECOND)]
    await talk.say(SECOND)
    await talk.done()
    [question, (author, answer)] = history(daemon)
    assert (question, author) == (("user", "hi"), "assistant")
    assert answer.endswith("…")
    assert len(answer) < len("One sentence here.")


async def test_speaking_after_the_last_answer(daemon: Daemon, talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that was played to its end is kept whole."""
    daemon.backend.attempts = twenty_seconds()
    await talk.answer("hi")
    now = dialogue._now()
    monkeypatch.setattr(dialogue, "_now", lambda: now + 20)
    daemon.backend.attempts = [gives("Go on."), gives("Fine."), gives(SECOND)]
    await talk.say(SECOND)
    await talk.done()
    assert history(daemon) == [("user", "hi"), ("assistant", LONG[0])]


async def test_cancelling_while_the_last_answer_sounds(daemon: Daemon, talk: Talk) -> None:
    """So does one that is cancelled then; another answer cannot be meant."""
    daemon.backend.attempts = twenty_seconds()
    done = await talk.answer("hi")
    error = await talk.refused({"type": "response.cancel", "response_id": "resp_earlier"})
    assert error.param == "response_id"
    await talk.connection.response.cancel(response_id=done.id)
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    await talk.answer("go on")
    assert history(daemon)[1][1].endswith("…")


async def test_leaving_while_the_last_answer_sounds(daemon: Daemon, client: AsyncOpenAI) -> None:
    """Who comes back is remembered to have heard what was played until they left."""
    async with client.realtime.connect(model="auto") as connection:
        talk = Talk(connection)
        created = await talk.until("session.created")
        daemon.backend.attempts = twenty_seconds()
        await talk.answer("hi")
    [conversation] = daemon.conversations._all.values()
    await until(lambda: conversation.leave is None)
    async with client.realtime.connect(model="auto", extra_query={"conversation": created.session.id}) as connection:
        daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
        await Talk(connection).answer("go on")
    assert len(history(daemon)[1][1]) < len("One sentence here.")


async def test_truncated_while_it_is_made(daemon: Daemon, talk: Talk) -> None:
    """Who stops listening wants no more of it: the answer ends, and keeps what was heard."""
    daemon.backend.attempts = [Endless("One sentence here. "), gives(SECOND * 10)]
    await talk.ask("hi")
    item = (await talk.until("response.output_audio.delta")).item_id
    await talk.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=1)
    assert (await talk.done()).status == "cancelled"
    assert (await talk.until("conversation.item.truncated", item_id=item)).transcript == "One…"
    daemon.backend.attempts = [gives("Fine."), gives(SECOND)]
    await talk.answer("go on")
    assert history(daemon) == [("user", "hi"), ("assistant", "One…")]


async def test_nothing_heard_of_an_answer(daemon: Daemon, talk: Talk) -> None:
    """Truncated to nothing it was still an answer: its question is not asked again."""
    daemon.backend.attempts = [gives("One."), gives(SECOND)]
    item = (await talk.answer("hi")).output[0].id
    await talk.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=0)
    await talk.until("conversation.item.truncated")
    daemon.backend.attempts = [gives("Two."), gives(SECOND)]
    await talk.answer("go on")
    assert (daemon.backend.turns[-1].text, history(daemon)) == ("go on", [("user", "hi"), ("assistant", "…")])


# Speech that cannot be stored


async def test_a_sentence_without_sound(daemon: Daemon, ada: Talk) -> None:
    """It has no clip, and leaves no file."""
    await ada.update(output_modalities=["video"])
    daemon.backend.attempts = [gives("One. "), gives()]
    done = await ada.answer("hi")
    assert (done.status, await made(daemon), scratch(daemon)) == ("completed", [], [])


async def test_a_full_disk(daemon: Daemon, ada: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words still come, and the response says that it was the disk."""

    def full(self: flac.SpeechFile, pcm: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(flac.SpeechFile, "write", full)
    await ada.update(output_modalities=["video"])
    daemon.backend.attempts = [gives("One. ", "Two. "), gives(SECOND)]
    done = await ada.answer("hi")
    assert (done.status, done.status_details.error.code) == ("failed", "disk_full")
    assert (ada.words(), scratch(daemon)) == ("One. Two. ", [])
