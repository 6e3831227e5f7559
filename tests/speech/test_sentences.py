"""Cutting streamed text into sentences."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.speech.sentences import CLAUSE, FIRST_CLAUSE, MAX_WIDTH, Sentence, Sentences, spoken

NASTY = (
    *"abcABC013 \n\t.,;:!?…。！？，；：\"'“”‘’「」（）()[]*_#`-😀你好\u3000é\u200d",
    *("```", "```py\n", "...", ". ", "? ", "Mr", "e.g.", "U.S.", "No", "etc", "3.14", "**", "1. ", "\n\n", "x" * 90),
    *("words and words ", "字" * 60, "https://a.example/b?c=d.", "(smiles)", "*waves*", "[a](b)"),
)
TEXT = st.lists(st.sampled_from(NASTY) | st.text(max_size=5), max_size=60).map("".join)


def cut(*pieces: str) -> list[Sentence]:
    sentences = Sentences()
    fed = [sentence for piece in pieces for sentence in sentences.feed(piece)]
    return fed + sentences.finish()


def texts(*pieces: str) -> list[str]:
    return [sentence.text for sentence in cut(*pieces)]


@given(TEXT, st.data())
def test_chopping(text: str, data: st.DataObject) -> None:
    """However the text is chopped up on its way, the sentences are the same, and together they are the text."""
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=20).map(sorted))
    whole = cut(text)
    assert "".join(sentence.text for sentence in whole) == text
    assert cut(*(text[start:end] for start, end in pairwise([0, *places, len(text)]))) == whole
    assert cut(*text) == whole


@given(TEXT)
def test_no_sentence_is_empty_or_long(text: str) -> None:
    """Each sentence has some text, and never more than its limit and the marks at its end."""
    assert all(0 < len(sentence.text) <= MAX_WIDTH + 18 for sentence in cut(text))


@pytest.mark.parametrize("letter", ["x", "字", " ", ".", "，", "`", "(", "\n", "😀"])
def test_nothing_to_cut_at(letter: str) -> None:
    """10,000 characters without a sentence in them are given in pieces, while they come."""
    sentences = Sentences()
    waiting = 10_000 - sum(len(sentence.text) for sentence in sentences.feed(letter * 10_000))
    assert waiting <= MAX_WIDTH + 18 or not letter.strip()
    assert sum(len(sentence.text) for sentence in sentences.finish()) == waiting


@pytest.mark.parametrize(
    "sentences",
    [
        ["Hello there. ", "How are you? ", "Fine!"],
        ["Really?! ", "Yes!!! ", "(Sure.) ", "“Quite.” ", "**So.** ", "'No.' ", "Good."],
        ["Mr. and Mrs. Smith met Dr. Who. ", "He left."],
        ["J. R. R. Tolkien, e.g. here. ", "The U.S. Army, i.e. they. ", "So do I. ", "I won't. ", "OK."],
        ["No. ", "I like No. 5. ", "Pens, ink etc. are here. ", "Pens, ink etc. ", "We go at 5 p.m. today."],
        ["Pi is 3.14 or so. ", "Use version 2.0.1, no other. ", "Born in 1990. ", "Yes."],
        ["See https://a.example/b.html?c=d!e. ", "Mail me@b.example. ", "It costs $1,000.50."],
        ["I was... thinking… about it. ", "Well... ", "Hm."],
        ["Things to buy:\n", "1. Apples. ", "Red ones.\n", "2. Pears\n", "- some\n", "* more\n", "\nThat is all."],
        ["A line that\nis wrapped. ", "A title\n", "A text\n", "\nand a paragraph"],
        ["你好。", "我是小明！", "真的吗？！", "嗯……", "好，走吧；现在。", "行"],
        ["他说：“走吧。”", "然后走了。", "「好。」", "她笑了。"],
        ['"你好。"', "她说。", '"再见。"', "他走了。"],
        ["Python很好。", "我在用Python 3.11，你呢？", "Good.", "你好!", "好"],
        ["Look:\n", "```python\n", "print('a. b')\n", "\n", "x = 1. \n", "```", "\nDone. ", "Yes."],
        ["Call `a.b()` now. ", "Like this ", "```x. y```", " here."],
        ["Great!", "😀 Go. ", "👍🏽"],
    ],
)
def test_expected_sentences(sentences: list[str]) -> None:
    """Sentences end where a reader would end them."""
    assert texts("".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        ("Hello there. ", ["Hello there. "]),
        ("Hello there.", []),  # it may be the 3. of 3.14
        ("Hello there.\n", ["Hello there.\n"]),
        ("**Hello.** ", ["**Hello.** "]),
        ("你好。", ["你好。"]),
        ("“你好。", []),  # the quote may close
        ("“你好。”她", ["“你好。”"]),
        ("真的？", []),  # as may ？！
        ("Mr. ", []),
        ("We did, no. ", []),  # 5 may follow
        ("Yes\n", []),  # it may be wrapped
        ("Yes\nN", ["Yes\n"]),
    ],
)
def test_as_soon_as_known(text: str, ready: list[str]) -> None:
    """A sentence is given with the very piece of text that makes it whole, and not before."""
    assert [sentence.text for sentence in Sentences().feed(text)] == ready


def test_long_sentences_end_at_a_clause() -> None:
    """The first sentence ends at the first comma after FIRST_CLAUSE, later ones at the first after CLAUSE."""
    first, second, third = "a" * (FIRST_CLAUSE - 1), "b" * (CLAUSE - 1), "c" * CLAUSE
    text = f"{first}, {second}, {third}, end"
    assert texts(text) == [f"{first}, {second}, ", f"{third}, ", "end"]
    assert texts(f"a{text}") == [f"a{first}, ", f"{second}, {third}, ", "end"]


def test_asides_are_not_cut_at_a_clause() -> None:
    """Commas inside brackets and stage directions end nothing."""
    aside = "*she walks in slowly, and sits down* Hi (I say this, and I mean it, you know), friend. "
    assert texts(aside)[0] == "*she walks in slowly, and sits down* Hi (I say this, and I mean it, you know), "


def test_hard_cut_at_white_space() -> None:
    """A sentence that will not end is cut between words."""
    pieces = texts("seven-7 " * 100)
    assert len(pieces) == 4
    assert all(piece.endswith("7 ") for piece in pieces)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("**Bold**, *soft*, ~~gone~~ and __more__ `code`.", "Bold, soft, gone and more code."),
        ("2*3 = 6, 2 * 3 = 6, snake_case", "2*3 = 6, 2 * 3 = 6, snake_case"),
        ("## A title", "A title"),
        ("> quoted", "quoted"),
        ("- item", "item"),
        ("1. item", "1. item"),
        ("-5 degrees", "-5 degrees"),
        ("See [the page](https://a.example/b).", "See the page."),
        ("![a picture](c.png)", ""),
        ("| a | b |", "a b"),
        ("---", ""),
        ("Great 😀! 👍🏽👩‍🔬", "Great!"),
        ("20°C, 5€", "20°C, 5€"),
        ("*smiles* Hello.", "Hello."),
        ("(laughs) [sighs] So!", "So!"),
        ("（微笑）你好。", "你好。"),
        ("*Really* good.", "Really good."),
        ("*waves*", ""),
        ("(That is all.)", "(That is all.)"),
        ("Paris (in France) is old.", "Paris (in France) is old."),
        ("**你好**！", "你好！"),
        ("” ", ""),
        ("”他说。", "他说。"),
        ("...", ""),
        ("two\n  lines\t here ", "two lines here"),
    ],
)
def test_spoken(text: str, said: str) -> None:
    """Only what a voice should say is left: no markdown, emoji, stage directions."""
    assert spoken(text) == said


def test_code_is_not_read_aloud() -> None:
    """Code blocks are part of the text and of no speech, closed or not."""
    sentences = cut("Look:\n```\nrm -rf.\n```\nDone. ```x``` Yes.\n```\nand so on. For ever.")
    assert [sentence.spoken for sentence in sentences if sentence.spoken] == ["Look:", "Done.", "Yes."]
