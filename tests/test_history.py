from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.history import MAX_ITEMS, History, Item, Part, Playback, heard, tokens
from echod.speech.base import Message

PARTS = [Part("One two three four. ", 2.0), Part("Five six. ", 1.0)]


def said(author: str, text: str, id: str = "") -> Item:
    return Item(id=id or text, author=author, text=text)  # type: ignore[arg-type]


def test_order() -> None:
    """Items go behind the one they are put behind, else to the end."""
    history = History()
    assert history.add(said("user", "a")) is None
    assert history.add(said("user", "c")) == "a"
    assert history.add(said("user", "b"), after="a") == "a"
    assert [item.id for item in history.items] == ["a", "b", "c"]
    with pytest.raises(KeyError):
        history.add(said("user", "x"), after="none")


def test_what_a_reply_sees() -> None:
    """The newest messages that fit, in order; nothing empty, nothing from the question on."""
    history = History()
    for author, text in (("user", "old " * 100), ("assistant", "hello"), ("user", " "), ("system", "rules")):
        history.add(said(author, text))
    question = said("user", "question")
    history.add(question)
    assert history.messages(50, question) == [Message("assistant", "hello")]
    assert len(history.messages(1000, question)) == 2
    assert history.messages(1000)[-1] == Message("user", "question")
    assert history.messages(0) == []


def test_bounded() -> None:
    """However long a conversation lasts, only so many items are kept."""
    history = History()
    for number in range(MAX_ITEMS + 50):
        history.add(said("user", "x", str(number)))
    assert len(history.items) == MAX_ITEMS and history.items[0].id == "50"


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
    assert heard(PARTS, seconds) == text


def test_what_was_heard_in_chinese() -> None:
    """Where words are not spaced, letters count."""
    assert heard([Part("今天天气很好。", 7.0)], 3.5) == "今天天气…"


@given(st.floats(0, 5), st.floats(0, 5))
def test_hearing_more_remembers_more(earlier: float, later: float) -> None:
    """What was heard by some moment begins with what was heard before it."""
    first, second = sorted((earlier, later))
    assert heard(PARTS, second).rstrip("… ").startswith(heard(PARTS, first).rstrip("… "))


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
