from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.conversation.history import MAX_ITEMS, ROOT, History, Item, Part, Playback, heard, question, tokens
from echod.speech.backend import Message

PARTS = [Part("One two three four. ", 2.0), Part("Five six. ", 1.0)]


def said(author: str, text: str, id: str = "") -> Item:
    return Item(id=id or text, author=author, text=text)  # type: ignore[arg-type]


def words(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts)


def test_order() -> None:
    """Items go behind the one they are put behind, else to the end."""
    history = History()
    assert history.add(said("user", "a")) is None
    assert history.add(said("user", "c")) == "a"
    assert history.add(said("user", "b"), after="a") == "a"
    assert history.add(said("user", "0"), after=ROOT) is None
    assert [item.id for item in history.items] == ["0", "a", "b", "c"]
    with pytest.raises(ValueError):
        history.add(said("user", "x"), after="none")


def test_what_a_reply_sees() -> None:
    """The newest messages that fit, in order; nothing empty, nothing from the question on."""
    history = History()
    for author, text in (("user", "old " * 100), ("assistant", "hello"), ("user", " "), ("system", "rules")):
        history.add(said(author, text))
    question = said("user", "question")
    history.add(question)
    assert history.messages(50, question) == [Message("user", "…"), Message("assistant", "hello")]
    assert len(history.messages(1000, question)) == 2
    assert history.messages(1000)[-1] == Message("user", "question")
    assert history.messages(0) == []


def test_only_so_many() -> None:
    """However long a conversation lasts, only so many items are kept; one put before a full history is not."""
    history = History()
    for number in range(MAX_ITEMS + 50):
        history.add(said("user", "x", str(number)))
    assert [item.id for item in history.trim(10**6)] == [str(number) for number in range(50)]
    assert len(history.items) == MAX_ITEMS
    early = said("user", "x", "early")
    assert history.add(early, after=ROOT) is None
    assert history.trim(10**6) == [early]


def test_only_so_much() -> None:
    """What no reply will see is forgotten: twice the limit of one is kept, and instructions beside it."""
    history = History()
    history.add(said("system", "Speak of nothing but wings."))
    for number in range(20):
        history.add(said("user", "word " * 76, str(number)))  # 99 tokens with what is around each
    assert [item.id for item in history.trim(400)] == [str(number) for number in range(12)]
    assert history.instructions() == ["Speak of nothing but wings."]
    assert history.trim(400) == []
    assert [item.id for item in history.trim(1)] == [str(number) for number in range(12, 19)]


def test_a_question() -> None:
    """Of what was said since the last answer a reply sees the newest that fits, and what was said last in any case."""
    history = History()
    for author, text in (("user", "hi"), ("assistant", "Yes."), ("user", "one"), ("system", "rules"), ("user", "two")):
        history.add(said(author, text))
    asked = history.unanswered()
    assert [item.text for item in asked] == ["one", "two"]
    assert question(asked, 100) == "one\ntwo"
    assert question(asked, 9) == question(asked, 0) == "two"
    assert question([], 100) == ""
    history.items[1].answered = False
    assert [item.text for item in history.unanswered()] == ["hi", "one", "two"]


def test_what_is_cut_stays_cut() -> None:
    """Hearing more later does not bring back words that were dropped; an answer whose words are gone was one."""
    history = History()
    answer = Item(id="answer", author="assistant", text=words(PARTS), parts=PARTS)
    history.add(said("user", "hi"))
    history.add(answer)
    history.truncate(answer, 9.0)
    assert (answer.text, answer.status) == (words(PARTS), "completed")
    for seconds, text in ((2.4, "One two three four. Five…"), (9.0, "One two three four. Five…"), (0.7, "One two…")):
        history.truncate(answer, seconds)
        assert (answer.text, answer.status) == (text, "incomplete")
    history.truncate(answer, 0.0)
    history.truncate(answer, 9.0)
    assert answer.text == ""
    assert history.unanswered() == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, ""),
        (-1.0, ""),
        (0.7, "One two…"),
        (2.0, "One two three four. "),
        (2.4, "One two three four. Five…"),
        (3.0, "One two three four. Five six. "),
        (9.0, "One two three four. Five six. "),
    ],
)
def test_what_was_heard(seconds: float, text: str) -> None:
    """Whole sentences, and of the one that was interrupted the words that had begun."""
    assert words(heard(PARTS, seconds)) == text


def test_what_was_heard_in_chinese() -> None:
    """Where words are not spaced, letters count."""
    assert words(heard([Part("今天天气很好。", 7.0)], 3.5)) == "今天天气…"


@given(st.floats(0, 5), st.floats(0, 5))
def test_hearing_more_remembers_more(earlier: float, later: float) -> None:
    """What was heard by some moment begins with what was heard before it."""
    first, second = sorted((earlier, later))
    assert words(heard(PARTS, second)).rstrip("… ").startswith(words(heard(PARTS, first)).rstrip("… "))


def test_tokens() -> None:
    """About one for a Chinese character, one for four Latin letters."""
    assert tokens("") == 0 and tokens("今天天气") == 4 and 2 <= tokens("good day") <= 3


def test_playback() -> None:
    """Sound is heard from when it was sent, without a pause while there is more, and not before."""
    playback = Playback()
    assert playback.heard(5.0) == 0.0
    playback.add(2.0, now=10.0)
    playback.add(2.0, now=10.5)
    assert playback.heard(11.0) == 1.0 and playback.heard(13.5) == 3.5 and playback.heard(20.0) == 4.0
    playback.add(1.0, now=20.0)
    assert playback.heard(20.5) == 4.5
