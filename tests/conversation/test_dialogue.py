"""A dialogue without a server: who is answered, interrupted and remembered, and what its observer is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echod.config import Settings
from echod.conversation import dialogue as dialogues
from echod.conversation.dialogue import Cause, Dialogue, Outcome
from echod.conversation.ear import SECOND, Ear, TurnDetection
from echod.conversation.happening import Happening, TextDelta
from echod.conversation.history import Item
from echod.conversation.store import Conversations, SessionSettings
from echod.conversation.turn import Turn
from echod.errors import EchodError
from echod.jobs.desk import Desk
from echod.journal import Journal
from echod.speech.backend import Call, Failure
from echod.speech.calls import Calls
from echod.speech.plan import FUNCTIONS
from tests.making.config import make_config
from tests.stand_ins.backend import Attempt, Scripted, fails, gives

HANG = 30.0  # seconds after which a test has failed
LOUD, QUIET = b"\1\0" * (SECOND // 2), bytes(SECOND)  # a second of each
WRITTEN = SessionSettings(modality="text", detection=None)
HANDS_FREE = SessionSettings(modality="text", detection=TurnDetection())


class Told:
    """Observes: a line for everything, and the words of the answer as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def tell(self, line: str) -> None:
        self.lines.append(line)
        self._more.set()

    async def until(self, line: str, times: int = 1) -> None:
        async with asyncio.timeout(HANG):
            while self.lines.count(line) < times:
                self._more.clear()
                await self._more.wait()

    def speech_started(self, ms: int, item_id: str) -> None:
        self.tell("started")

    def speech_stopped(self, ms: int, item_id: str) -> None:
        self.tell("stopped")

    def said(self, item: Item, previous: str | None) -> None:
        self.tell("said")

    def heard(self, item: Item, seconds: float, heard: str | EchodError) -> None:
        self.tell("heard" if isinstance(heard, str) else f"unheard {heard.code}")

    def answering(self, item: Item, previous: str | None, settings: SessionSettings, metadata: Any) -> None:
        self.tell(f"answering {metadata or ''}".strip())

    def calling(self, item: Item, previous: str | None) -> None:
        self.tell(f"calling {item.name}")

    def called(self, item: Item, delta: str | None) -> None:
        self.tell(delta if delta is not None else f"called {item.text}")

    def happened(self, happening: Happening) -> None:
        self.tell(happening.delta if isinstance(happening, TextDelta) else "sound")

    def answered(self, turn: Turn, outcome: Outcome, cause: Cause | None) -> None:
        self.tell(f"{outcome} {cause or ''}".strip())

    def refused(self, error: EchodError) -> None:
        self.tell(f"refused {error.code}")


class Bench:
    """A conversation with a scripted backend, and a dialogue for it."""

    def __init__(self, directory: Path, *attempts: Attempt, **settings: object) -> None:
        self.settings = Settings(make_config(directory, **settings))
        self.backend = Scripted(*attempts)
        self.calls = Calls(self.settings, {"scripted": self.backend}, dict.fromkeys(FUNCTIONS, "scripted"))
        self.desk = Desk(self.settings, Journal(directory / "journal"), ("preview",), boot=1)
        self.conversation = Conversations(self.settings).open("ann", None)
        self.come()

    def come(self) -> None:
        """Somebody connects."""
        self.told = Told()
        self.dialogue = Dialogue(
            self.conversation,
            None,
            self.told,
            calls=self.calls,
            desk=self.desk,
            scratch=self.desk.root,
            latest=lambda role: role,
            at_work=contextlib.nullcontext,
        )

    def write(self, text: str) -> None:
        self.dialogue.add(Item(id=f"item of {text}", author="user", text=text))

    @property
    def remembered(self) -> list[tuple[str, str]]:
        return [(item.text, item.status) for item in self.conversation.history.items]


class Held:
    """An attempt that gives these, and its end when it is let."""

    def __init__(self, *pieces: str | bytes) -> None:
        self.pieces, self.go_on = pieces, asyncio.Event()

    async def __call__(self, call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        for piece in self.pieces:
            yield piece
        await self.go_on.wait()


@pytest.fixture
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that takes whatever is not silence for a voice."""
    monkeypatch.setattr(Ear, "_voice_in", lambda self, window: float(any(window)))


async def test_an_answer(tmp_path: Path) -> None:
    """What is written is answered, told of in order, and remembered."""
    bench = Bench(tmp_path, gives("Fine, ", "thanks."))
    bench.write("How are you?")
    await bench.dialogue.answer(WRITTEN, "mine")
    speaking = bench.dialogue.speaking
    await bench.told.until("completed")
    assert bench.told.lines == ["answering mine", "Fine, ", "thanks.", "completed"]
    assert bench.remembered == [("How are you?", "completed"), ("Fine, thanks.", "completed")]
    assert (speaking, bench.dialogue.speaking) == (True, False)
    assert [turn.text for turn in bench.backend.turns] == ["How are you?"]


async def test_nothing_to_take(tmp_path: Path) -> None:
    """Less than a moment of sound is no utterance, and nobody is answered whom there is no answer for."""
    bench = Bench(tmp_path, gives("Hello."))
    await bench.dialogue.answer(WRITTEN)  # whom nobody has spoken to yet may greet
    await bench.told.until("completed")
    await bench.dialogue.listen(LOUD[: SECOND // 20])
    with pytest.raises(EchodError, match="at least 100"):
        await bench.dialogue.commit()
    with pytest.raises(EchodError, match="portrait of a role"):
        await bench.dialogue.answer(replace(WRITTEN, modality="video"))
    bench.desk.draining = True
    bench.write("Wait!")
    with pytest.raises(EchodError) as refused:
        await bench.dialogue.answer(WRITTEN)
    assert refused.value.code == "draining"


async def test_a_reply_without_an_end(tmp_path: Path) -> None:
    """A reply that reaches its limit is incomplete, and no failure: what there is of it is said and remembered."""
    bench = Bench(tmp_path, fails(Failure("length", "enough"), "One. ", "Two"), gives(QUIET), gives(QUIET))
    bench.write("Count.")
    await bench.dialogue.answer(SessionSettings())
    await bench.told.until("incomplete")
    assert bench.told.lines == ["answering", "One. ", "Two", "sound", "sound", "incomplete"]
    assert bench.remembered[-1] == ("One. Two", "incomplete")


async def test_all_thoughts_and_no_words(tmp_path: Path) -> None:
    """A reply that reaches its limit before it has said anything has failed."""
    bench = Bench(tmp_path, fails(Failure("length", "enough"), " "))
    bench.write("Count.")
    await bench.dialogue.answer(WRITTEN)
    await bench.told.until("failed")
    assert "Sorry" in "".join(bench.told.lines)


async def test_apologies_are_forgotten(tmp_path: Path) -> None:
    """What is said of a failure is no part of the history: neither behind half a sentence nor in place of an answer."""
    down = Failure("protocol", "down")
    bench = Bench(tmp_path, fails(down, "Well, you "), *[gives(QUIET)] * 3, fails(down), gives("Fine."))
    bench.write("How are you?")
    await bench.dialogue.answer(SessionSettings())
    await bench.told.until("failed")
    assert "".join(bench.told.lines).count("Sorry") == 1 and bench.told.lines.count("sound") == 3
    assert bench.remembered[-1] == ("Well, you ", "incomplete")
    assert [part.text for part in bench.conversation.history.items[-1].parts] == ["Well, you "]
    bench.write("How?")
    await bench.dialogue.answer(WRITTEN)
    await bench.told.until("failed", times=2)
    bench.write("Again: how?")
    await bench.dialogue.answer(WRITTEN)
    await bench.told.until("completed")
    last = bench.backend.turns[-1]
    assert last.text == "How?\nAgain: how?"
    assert [message.text for message in last.history] == ["How are you?", "Well, you "]


async def test_one_turn_at_a_time(tmp_path: Path) -> None:
    """A second answer is refused while one is in progress; to somebody who has said more it is given instead of it."""
    bench = Bench(tmp_path, Held(), gives("Both."))
    bench.write("One?")
    await bench.dialogue.answer(WRITTEN)
    with pytest.raises(EchodError, match="in progress"):
        await bench.dialogue.answer(replace(WRITTEN, instructions="Be brief."))
    assert bench.told.lines == ["answering"]
    await bench.backend.begun.wait()
    bench.write("And two?")
    await bench.dialogue.answer(WRITTEN)
    await bench.told.until("completed")
    assert bench.told.lines == ["answering", "cancelled turn_detected", "answering", "Both.", "completed"]
    assert [turn.text for turn in bench.backend.turns] == ["One?", "One?\nAnd two?"]


async def test_what_was_not_heard_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is all sent is cut where the person was when they spoke, unless it was heard to its end."""
    long = gives("One two three four five six."), gives(QUIET * 60)
    bench = Bench(tmp_path, *long, *long)
    for seconds, status in ((0, "incomplete"), (120, "completed")):
        bench.write(f"Count, {seconds}.")
        await bench.dialogue.answer(SessionSettings())
        await bench.told.until("completed", 1 + bool(seconds))
        now = dialogues._now() + seconds
        with monkeypatch.context() as later:
            later.setattr(dialogues, "_now", lambda now=now: now)
            assert bench.dialogue.speaking is (status == "incomplete")
            await bench.dialogue.interrupt("turn_detected")
        text, found = bench.remembered[-1]
        assert (found, text == "One two three four five six.") == (status, status == "completed")
        assert not bench.dialogue.speaking


async def test_cut_while_it_is_sent(tmp_path: Path) -> None:
    """An answer that is cancelled half way is remembered as far as it was heard, if it was."""
    bench = Bench(tmp_path, gives("One two three four five six."), Held(QUIET * 60))
    bench.write("Count.")
    await bench.dialogue.answer(SessionSettings())
    await bench.told.until("sound")
    await bench.dialogue.interrupt("client_cancelled")
    assert bench.told.lines[-1] == "cancelled client_cancelled"
    text, status = bench.remembered[-1]
    assert (len(text) < len("One two"), status) == (True, "incomplete")


async def test_the_client_knows_better(tmp_path: Path) -> None:
    """Where a client says how much was heard, that is remembered, and nothing sounds any more."""
    bench = Bench(tmp_path, gives("One two three four five six."), gives(QUIET * 60))
    bench.write("Count.")
    await bench.dialogue.answer(SessionSettings())
    await bench.told.until("completed")
    speaking = bench.dialogue.speaking
    await bench.dialogue.truncate(bench.conversation.history.items[-1], 30.0)
    assert (speaking, bench.dialogue.speaking) == (True, False)
    await bench.dialogue.interrupt("turn_detected")
    assert bench.remembered[-1] == ("One two three…", "incomplete")


@pytest.mark.usefixtures("loud")
async def test_hands_free(tmp_path: Path) -> None:
    """Who stops to speak is heard and answered by itself."""
    bench = Bench(tmp_path, gives("Who is there?"), gives("Me."))
    await bench.dialogue.change(HANDS_FREE)
    await bench.dialogue.listen(LOUD + QUIET)
    await bench.told.until("completed")
    assert bench.told.lines == ["started", "stopped", "said", "answering", "heard", "Me.", "completed"]
    assert bench.remembered == [("Who is there?", "completed"), ("Me.", "completed")]
    assert [turn.text for turn in bench.backend.turns] == ["Who is there?"]


@pytest.mark.usefixtures("loud")
@pytest.mark.parametrize("interrupt", [True, False])
async def test_speaking_into_an_answer(tmp_path: Path, interrupt: bool) -> None:
    """It ends the answer at once, or is answered after it, as the settings say."""
    first = Held("Well, ")
    bench = Bench(tmp_path, first, gives("And you?"), gives("Fine."))
    await bench.dialogue.change(replace(HANDS_FREE, detection=TurnDetection(interrupt_response=interrupt)))
    bench.write("How are you?")
    await bench.dialogue.answer(bench.conversation.settings)
    await bench.told.until("Well, ")
    await bench.dialogue.listen(LOUD)
    ended = "cancelled turn_detected" if interrupt else "completed"
    assert bench.told.lines[2:] == ["started"] + [ended] * interrupt
    await bench.dialogue.listen(QUIET)
    assert bench.told.lines.count("answering") == 1 + interrupt
    first.go_on.set()
    await bench.told.until("Fine.")
    answers = [line for line in bench.told.lines if line in ("answering", ended, "Fine.")]
    assert answers == ["answering", ended, "answering", "Fine."]


@pytest.mark.usefixtures("loud")
async def test_refused_by_itself(tmp_path: Path) -> None:
    """What was said while the daemon began to drain is not answered, and the observer is told why."""
    first = Held()
    bench = Bench(tmp_path, first, gives("And you?"))
    await bench.dialogue.change(replace(HANDS_FREE, detection=TurnDetection(interrupt_response=False)))
    bench.write("How are you?")
    await bench.dialogue.answer(bench.conversation.settings)
    await bench.backend.begun.wait()
    await bench.dialogue.listen(LOUD + QUIET)
    bench.desk.draining = True
    first.go_on.set()
    await bench.told.until("refused draining")
    assert bench.told.lines.count("answering") == 1


@pytest.mark.usefixtures("loud")
async def test_no_end(tmp_path: Path) -> None:
    """Too long an utterance is split where turns are detected, and dropped where somebody was to commit it."""
    bench = Bench(tmp_path, gives("Ah."), max_utterance=2)
    await bench.dialogue.change(WRITTEN)
    with pytest.raises(EchodError, match="commit sooner"):
        for _ in range(3):
            await bench.dialogue.listen(LOUD)
    with pytest.raises(EchodError, match="holds 0 ms"):
        await bench.dialogue.commit()
    with pytest.raises(EchodError, match="smaller pieces"):
        await bench.dialogue.listen(LOUD * 3)
    assert bench.told.lines == []
    await bench.dialogue.change(replace(HANDS_FREE, detection=TurnDetection(create_response=False)))
    for _ in range(3):
        await bench.dialogue.listen(LOUD)
    assert [line for line in bench.told.lines if line != "heard"] == ["started", "stopped", "said", "started"]


async def test_ready_before_the_first_word(tmp_path: Path) -> None:
    """What hears, replies and speaks is loaded when somebody connects; that it cannot be is told when it is needed."""
    bench = Bench(tmp_path, gives("Fine."))
    await bench.dialogue._preparing
    assert sorted(bench.backend.prepared) == ["anna", "hear", "reply"]
    bench.backend.missing = "nothing here"
    bench.come()
    await bench.dialogue._preparing
    assert bench.told.lines == []


async def test_leaving(tmp_path: Path) -> None:
    """Who leaves ends the answer; what they asked is still open when they are back."""
    bench = Bench(tmp_path, Held(), gives("Fine."))
    bench.write("How are you?")
    await bench.dialogue.answer(WRITTEN)
    await bench.backend.begun.wait()
    await bench.dialogue.close()
    assert bench.told.lines == ["answering", "cancelled client_cancelled"]
    bench.come()
    await bench.dialogue.answer(WRITTEN)
    await bench.told.until("completed")
    assert [turn.text for turn in bench.backend.turns] == ["How are you?"] * 2
