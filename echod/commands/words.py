"""Two languages. English is written where it is used, as programs get it; `zh` has the Chinese for what people read."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache, cached_property, lru_cache
from string import Formatter


def language(environ: Mapping[str, str] = os.environ) -> str:
    """`zh` or `en`: ECHOD_LANG's, else the locale's as POSIX has it; a locale with words may have GNU's LANGUAGE."""
    if chosen := environ.get("ECHOD_LANG"):
        return "zh" if chosen.lower().startswith("zh") else "en"
    given = (environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next(filter(None, given), "C")
    if locale.partition(".")[0] in ("C", "POSIX"):
        return "en"
    wanted = [*environ.get("LANGUAGE", "").split(":"), locale]
    return next((code[:2] for code in wanted if code[:2] in ("en", "zh")), "en")


@lru_cache(4096)
def t(english: str) -> str:
    """A sentence, its values in it, in the person's language; where no Chinese is known, as it is."""
    if not speaks_chinese():
        return english
    from echod.commands.zh import WORDS

    if english in WORDS:
        return WORDS[english]
    return next((said for each in _templates() if (said := each.render(english)) is not None), english)


@cache
def speaks_chinese() -> bool:
    """Whether the person at the terminal is told things in Chinese."""
    if language() != "zh":
        return False
    try:
        "中".encode(getattr(sys.stderr, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # a terminal that has no such letters
        return False
    return True


def explained(message: str, code: str | None) -> str:
    """What a daemon told by that code: where its words have no Chinese, behind a sentence in Chinese for the code."""
    if code is None or not speaks_chinese():
        return message
    from echod.commands.zh.errors import ERRORS
    from echod.commands.zh.refusals import REFUSALS

    if code not in REFUSALS or message in ERRORS or any(each.render(message) for each in _templates_of(ERRORS)):
        return message
    return f"{REFUSALS[code]}（{message}）"


class Template:
    """A sentence with a {} for each value, and the Chinese for it.

    A value is one word there, unless its {} says more: {:s} takes any text, {:t} any text that is translated too.
    """

    def __init__(self, english: str, chinese: str) -> None:
        self.english, self.chinese = english, chinese
        self.letters = len(english.replace("{}", ""))
        self._first, *_, self._last = english.split("{}")

    def render(self, sentence: str) -> str | None:
        """The Chinese for a sentence that was made of this template, None for another."""
        if not (sentence.startswith(self._first) and sentence.endswith(self._last)):
            return None
        found = self._pattern.fullmatch(sentence)
        return found and self.chinese.format(*map(_Value, found.groups()))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        fields = [(name, spec) for _, name, spec, _ in Formatter().parse(self.chinese) if name is not None]
        wide = {int(name or place) for place, (name, spec) in enumerate(fields) if spec}
        first, *others = map(re.escape, self.english.split("{}"))
        holes = ("(.*?)" if place in wide else r"(\S+?)" for place in range(len(others)))
        return re.compile(first + "".join(hole + text for hole, text in zip(holes, others, strict=True)), re.DOTALL)


class _Value(str):
    def __format__(self, spec: str) -> str:
        return t(str(self)) if spec == "t" else str(self)


@cache
def _templates() -> list[Template]:
    """The more a template says itself, the earlier it is tried."""
    from echod.commands.zh import WORDS

    return sorted(_templates_of(WORDS), key=lambda each: -each.letters)


def _templates_of(known: Mapping[str, str]) -> Iterator[Template]:
    return (Template(english, chinese) for english, chinese in known.items() if "{}" in english)
