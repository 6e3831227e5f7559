"""What a model thinks before it answers is not said, however it was chopped up on its way."""

from __future__ import annotations

import pytest

from echod.speech.thoughts import Thoughts


def said(pieces: list[str]) -> str:
    thoughts = Thoughts()
    return "".join([*map(thoughts.feed, pieces), thoughts.finish()])


@pytest.mark.parametrize(
    ("reply", "rest"),
    [
        ("<think>Hm.</think>Yes.", "Yes."),
        ("\n<think>\nA wing < a bird.\n</think>\n\n  Yes, <b>two</b>.\n", "Yes, <b>two</b>.\n"),
        ("<think></think>是的。", "是的。"),
        ("Yes, <think>no</think> two.", "Yes, <think>no</think> two."),
        ("<thin ice>", "<thin ice>"),
        ("  Yes.", "  Yes."),
        ("<thi", "<thi"),
        (" \n", " \n"),
        ("", ""),
        ("<think>and never ends", ""),
        ("<think>Hm.</think> \n", ""),
        ("<think>one</think><think>two</think>", "<think>two</think>"),
    ],
)
def test_thoughts(reply: str, rest: str) -> None:
    """However many pieces it comes in."""
    for size in (1, 2, 7, 100):
        assert said([reply[start : start + size] for start in range(0, len(reply), size)]) == rest, size


def test_a_long_thought_is_not_kept() -> None:
    """A model may think for minutes."""
    thoughts = Thoughts()
    for _ in range(1000):
        assert thoughts.feed("<think>and so on ") == ""
    assert len(thoughts._held) < 100
    assert thoughts.feed("</think> Yes.") == "Yes."
