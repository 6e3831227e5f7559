"""Calls of tools in what a model writes, however that is cut up on its way."""

from __future__ import annotations

import pytest

from echod.speech.tools import CallPiece, TaggedCalls, Tool, Toolbox

WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"place": "Paris"}}\n</tool_call>'
CALL = CallPiece(0, '{"place": "Paris"}', "weather")


def read(text: str, size: int) -> tuple[str, list[CallPiece]]:
    """Words and calls, of a text that comes in pieces of this size."""
    tagged = TaggedCalls()
    found = [each for start in range(0, len(text), size) for each in tagged.feed(text[start : start + size])]
    found += tagged.finish()
    words = "".join(each for each in found if isinstance(each, str))
    return words, [each for each in found if isinstance(each, CallPiece)]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "words", "calls"),
    [
        ("Fine, 1 < 2 <b>.", "Fine, 1 < 2 <b>.", []),
        (WEATHER, "", [CALL]),
        (f"Let me see. {WEATHER}", "Let me see. ", [CALL]),
        (f"{WEATHER}\n{WEATHER}", "", [CALL, CallPiece(1, CALL.arguments, "weather")]),
        ('<tool_call>{"name": "now"}</tool_call>', "", [CallPiece(0, "{}", "now")]),
        ("<tool_call>{no JSON}</tool_call>", "<tool_call>{no JSON}</tool_call>", []),
        ("It ends in <tool_call>{", "It ends in <tool_call>{", []),
    ],
)
def test_between_tags(size: int, text: str, words: str, calls: list[CallPiece]) -> None:
    """Words come as words and calls as calls; what is no call is not lost."""
    assert read(text, size) == (words, calls)


def test_no_tools() -> None:
    """Where there are none, or none are to be used, a request says nothing of them."""
    for box in (Toolbox(), Toolbox([Tool("weather")], "none")):
        assert not box and box.chat() == {}
