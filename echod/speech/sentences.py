"""Streamed text, cut into sentences as soon as each is known to be whole.

Where a sentence ends never depends on how the text was chopped up on its way: a mark is judged by what stands before
it, and by as much of what follows as its kind needs.

    。，；：            nothing; where a quote or bracket is open on the line, the closing ones and one character more
    ！？               further marks, the closing ones of what is open, and one character more
    . ! ? … , ; :     further marks, closing ones, and one character more: white space ends the sentence, as part of it
    ... etc. No.      the same and the character after that space, for they may stand in the middle of a sentence too
    line break        one character: small letters go on with the sentence
    ```               two: a block of code is beginning

Sentences end at . ! ? … 。 ！ ？, at line breaks and around code; long ones at a comma or the like, the first of all
soonest; and all of them at MAX_WIDTH.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import NamedTuple

# Widths in columns, as in a terminal: a Chinese character says as much as two Latin letters, or more.
FIRST_CLAUSE = 20  # the first sentence ends at the first comma after this: nobody hears anything until it is spoken
CLAUSE = 60
MAX_WIDTH = 200
WINDOW = 256  # characters: MAX_WIDTH and what the last mark in it is judged by

FENCE = "```"
MARK = re.compile(r"\n|`{1,3}|[.!?…,;:]{1,8}|[。！？，；：]{1,8}")
CLOSING = re.compile(r"[\"'”’»)\]}」』）》】*_~`]{0,8}")
LAST_SPACE = re.compile(r".*\S\s", re.DOTALL)
NUMBERED = re.compile(r"[\s>#*_-]*\d{1,3}")  # so far: the number of a list item
CODE_END = re.compile(rf"\n|{FENCE}")

STOPS = frozenset(".!?…。！？")
AT_ONCE = frozenset("。，；：")
QUOTES = ("“”", "‘’", "「」", "『』")
OPENING = "\"'“‘([*_"
BRACKETS = ("()", "[]", "（）", "《》", "【】")
QUOTED_LINE = 400  # characters of a line in which open quotes are looked for

# Abbreviations, in small letters and without the full stop. The first kind stands before what it belongs to: titles,
# initials, U.S., e.g., Ph.D. The second may also end a sentence.
LEADING = re.compile(
    r"mr|mrs|ms|mx|dr|prof|rev|hon|gen|col|lt|capt|sgt|st|mt|vs|cf|approx|"
    r"(?!i$)[a-zß-ÿа-я]|([a-zß-ÿа-я]{1,2}\.)+[a-zß-ÿа-я]{1,2}"
)
SHORTENED = re.compile(
    r"etc|inc|ltd|co|corp|jr|sr|no|nos|vol|fig|sec|min|max|al|est|dept|a\.m|p\.m|"
    r"jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec"
)


class Sentence(NamedTuple):
    """A sentence as written, with the white space after it, and as a voice should say it ("": not at all)."""

    text: str
    spoken: str


class Sentences:
    """Cuts one text: `feed` it as it comes, then `finish`. The sentences' texts joined are the whole text."""

    def __init__(self) -> None:
        self._text = ""  # what is not cut yet
        self._line = ""  # what is cut already of the line it goes on with
        self._clause = FIRST_CLAUSE
        self._code = False

    def feed(self, text: str) -> list[Sentence]:
        """The sentences that are whole now."""
        self._text += text
        return list(self._cut())

    def finish(self) -> list[Sentence]:
        """The rest, at the end of the text."""
        sentences = list(self._cut())
        if self._text:
            sentences.append(self._sentence(self._text))
            self._text = ""
        return sentences

    def _cut(self) -> Iterator[Sentence]:
        start = 0
        while end := self._end(self._text[start : start + WINDOW]):
            yield self._sentence(self._text[start : start + end])
            start += end
        self._text = self._text[start:]

    def _sentence(self, text: str) -> Sentence:
        silent = self._code or FENCE in text
        self._code ^= text.count(FENCE) % 2 == 1
        self._line = (self._line + text).rpartition("\n")[2][-QUOTED_LINE:]
        sentence = Sentence(text, "" if silent else spoken(text))
        if sentence.spoken:
            self._clause = CLAUSE
        return sentence

    def _end(self, text: str) -> int:
        """Where the first sentence ends; 0 while that cannot be told."""
        limit = _fitting(text, MAX_WIDTH)
        try:
            if self._code or text[:limit].lstrip().startswith(FENCE):
                return self._end_of_code(text, limit)
            return self._end_at_mark(text, limit)
        except IndexError:  # what decides is yet to come
            return 0

    def _end_at_mark(self, text: str, limit: int) -> int:
        for mark in MARK.finditer(text):
            if mark.start() >= limit:
                break
            if end := self._judge(text, mark):
                return end
        if limit == len(text):
            return 0
        space = LAST_SPACE.match(text, 0, limit)
        return space.end() if space else limit

    def _end_of_code(self, text: str, limit: int) -> int:
        """Code is cut into lines."""
        start = 0 if self._code else text.index(FENCE) + len(FENCE)
        if end := CODE_END.search(text, start, limit + len(FENCE) - 1):
            return end.end()
        return limit if len(text) >= limit + len(FENCE) - 1 else 0

    def _judge(self, text: str, mark: re.Match[str]) -> int:
        """Where the sentence ends with this mark; 0 if it goes on. IndexError if what follows is needed and missing."""
        before = text[: mark.start()]
        if mark[0] == "\n":
            return 0 if not before.strip() or text[mark.end()].islower() else mark.end()
        if mark[0].startswith("`"):
            return mark.start() if text[mark.start() + 2] and mark[0] == FENCE and before.strip() else 0
        if mark[0].isascii() or "…" in mark[0]:
            return self._judge_spaced(text, before, mark)
        return self._judge_unspaced(text, before, mark)

    def _judge_spaced(self, text: str, before: str, mark: re.Match[str]) -> int:
        end = _after_closing(text, mark.end())
        if text[end].isspace():
            end += 1
        elif unicodedata.category(text[end]) not in ("Lo", "So"):  # a script without spaces, an emoji
            return 0
        if mark[0][-1] not in STOPS:
            return end if self._may_end_at_clause(before) else 0
        return 0 if _goes_on(before, mark[0], text, end) else end

    def _judge_unspaced(self, text: str, before: str, mark: re.Match[str]) -> int:
        marks, end = mark[0], mark.end()
        quoted = _unclosed(self._line + before, QUOTES + BRACKETS)
        if not quoted and marks[0] in AT_ONCE:
            marks, end = marks[0], mark.start() + 1
        else:
            end = _after_closing(text, end) if quoted else end
            if end == len(text):
                raise IndexError
        return end if marks[-1] in STOPS or self._may_end_at_clause(before) else 0

    def _may_end_at_clause(self, before: str) -> bool:
        aside = before.count("*") % 2 == 1 or _unclosed(before, BRACKETS)
        return not aside and _fitting(before.lstrip(), self._clause - 1) < len(before.lstrip())


CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")  # would end or break a line


async def lines(text: AsyncIterator[str], skip: int = 0) -> AsyncGenerator[str, None]:
    """The sentences of a text that have something to say, but the first `skip`, each a line, as soon as it is whole."""
    cutter, number = Sentences(), itertools.count()
    async for piece in text:
        for line in filter(None, map(_line, cutter.feed(piece))):
            if next(number) >= skip:
                yield line
    for line in filter(None, map(_line, cutter.finish())):
        if next(number) >= skip:
            yield line


def _line(sentence: Sentence) -> str:
    has_words = any(letter.isalnum() for letter in sentence.text)
    return CONTROL.sub(" ", sentence.text).strip() if has_words else ""


def _fitting(text: str, width: int) -> int:
    """How many of its characters fit into this width."""
    for index, letter in enumerate(text):
        width -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if width < 0:
            return index
    return len(text)


def _unclosed(text: str, pairs: tuple[str, ...]) -> bool:
    straight = pairs is not BRACKETS and text.count('"') % 2 == 1
    return straight or any(text.count(pair[0]) > text.count(pair[1]) for pair in pairs)


def _after_closing(text: str, start: int) -> int:
    closing = CLOSING.match(text, start)
    return closing.end() if closing else start


def _goes_on(before: str, marks: str, text: str, end: int) -> bool:
    """Whether these marks, . or ... among them, stand in the middle of a sentence that goes on at `end`."""
    perhaps = marks.endswith(("..", "…"))
    if marks == ".":
        word = re.split(r"\s", before)[-1].lstrip(OPENING).lower()
        perhaps = SHORTENED.fullmatch(word) is not None
        if not perhaps and (LEADING.fullmatch(word) or NUMBERED.fullmatch(before)):
            return True
    return perhaps and (text[end].islower() or text[end].isdigit())


PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
LINE_MARKER = re.compile(r"^\s*(?:#{1,6}\s+|>\s*|[-*+•]\s+)+", re.MULTILINE)
EMPHASIS = re.compile(r"`+|~~|(?<![\d\s])\*|\*(?![\d\s])|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)")  # not 2*3, not snake_case
DIRECTION = re.compile(r"\s*[*(（\[【]([^\W\d_][^.!?:。！？：*()（）\[\]【】\n]{1,59})[*)）\]】](?![*(])\s*")
EMOJI = re.compile(
    r"\s*[\U0001F000-\U0001FAFF\u2300-\u23FF\u2600-\u27BF\u2B00-\u2BFF]"
    r"[\U0001F3FB-\U0001F3FF\uFE0F\u200D\u20E3\U000E0020-\U000E007F]*"
)
LOOSE = "。！？，、；：…”’」』）》】 "  # what a sentence cannot begin with


def spoken(text: str) -> str:
    """What to say of a sentence: without markdown, emoji and stage directions; "" if nothing is left to say."""
    text = LINE_MARKER.sub("", LINK.sub(r"\1", PICTURE.sub("", text)))
    text = EMOJI.sub("", _without_directions(text))
    text = EMPHASIS.sub("", text.replace("|", " "))
    text = " ".join(text.split()).lstrip(LOOSE)
    return text if any(letter.isalnum() for letter in text) else ""


def _without_directions(text: str) -> str:
    """Drops (smiles) or *smiles* where a sentence begins with it. Elsewhere it may be what somebody wants to say."""
    while direction := DIRECTION.match(text):
        after = text[direction.end() :]
        if after[:1].islower() and not direction[1][0].islower():  # *Hamlet* is a play
            break
        text = after
    return text
